//! The plots: ratios as bars, and times over the number of processes; each as SVG and PNG, by the same strokes.

use std::{error::Error, fs::File, io::BufWriter, path::Path, sync::Once};

use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    plan::{Case, Role, Subject},
    record::Record,
    report::number,
    workloads::SCALE,
};

type Area<'a, DB> = DrawingArea<DB, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(215, 215, 215);
const OURS: RGBColor = RGBColor(205, 85, 30);
const PEER: RGBColor = RGBColor(70, 110, 165);
const LIMIT: RGBColor = RGBColor(150, 150, 150);
/// Lines of peers, told apart by colour: as many as a plot has.
const LINES: [RGBColor; 13] = [
    RGBColor(31, 119, 180),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(188, 160, 34),
    RGBColor(23, 190, 207),
    RGBColor(100, 100, 100),
    RGBColor(57, 59, 121),
    RGBColor(99, 121, 57),
    RGBColor(132, 60, 57),
    RGBColor(123, 65, 115),
    RGBColor(0, 150, 110),
];

/// Draws everything that there are samples of. Says which files, without their endings, show which workload.
pub(crate) fn write(cases: &[Case], record: &Record, folder: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut plots = Vec::new();
    let mut workloads: Vec<&str> = Vec::new();
    for case in cases {
        if case.workload() != "death" && !workloads.contains(&case.workload()) {
            workloads.push(case.workload());
        }
    }
    for workload in workloads {
        let known: Vec<_> = cases.iter().filter(|case| case.workload() == workload).collect();
        let panels: Vec<_> = known.iter().filter_map(|case| Panel::of(case, record)).collect();
        if panels.is_empty() {
            continue;
        }
        let name = format!("ratios-{workload}");
        let size = Panel::size(&panels);
        both(folder, &name, size, &|area| bars(area, &panels), &|area| bars(area, &panels))?;
        plots.push((name, workload.to_owned()));
        let mut families: Vec<_> = known.iter().filter_map(|case| case.scaling.map(|(family, _)| family)).collect();
        families.dedup();
        for family in families {
            let lines = Line::all(cases, record, family);
            if lines.iter().any(|line| line.points.len() > 1) {
                let name = format!("scaling-{}", family.replace([',', ' '], "-").replace("--", "-"));
                both(folder, &name, (900, 560), &|area| scaling(area, family, &lines), &|area| {
                    scaling(area, family, &lines)
                })?;
                plots.push((name, workload.to_owned()));
            }
        }
    }
    Ok(plots)
}

/// The same strokes on both kinds of paper.
fn both(
    folder: &Path,
    name: &str,
    size: (u32, u32),
    svg: &dyn Fn(&Area<'_, SVGBackend<'_>>) -> Drawn,
    bitmap: &dyn Fn(&Area<'_, BitMapBackend<'_>>) -> Drawn,
) -> Drawn {
    static FONTS: Once = Once::new();
    // The same in both, and on every machine.
    FONTS.call_once(|| _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT));
    let path = folder.join(format!("{name}.svg"));
    let area = SVGBackend::new(&path, size).into_drawing_area();
    svg(&area)?;
    area.present()?;
    drop(area);
    let mut pixels = vec![0; 3 * size.0 as usize * size.1 as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        bitmap(&area)?;
        area.present()?;
    }
    let mut encoder =
        png::Encoder::new(BufWriter::new(File::create(folder.join(format!("{name}.png")))?), size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(())
}

/// A bar, or a word in its place.
enum Bar {
    Ratio(f64),
    Word(&'static str),
}

/// The bars of a case.
struct Panel {
    title: String,
    bars: Vec<(&'static str, Role, Bar)>,
}

const PANEL_WIDTH: u32 = 620;
const BAR: u32 = 20;
const HEAD: u32 = 46;
const TAIL: u32 = 16;
/// Where names end and bars begin.
const NAMES: i32 = 250;

impl Panel {
    fn of(case: &Case, record: &Record) -> Option<Self> {
        let reference = record.reference(case)?;
        let bar = |subject: &Subject| {
            let run = record.of(case, subject.name)?;
            let bar = match (run.spread(), &run.broken) {
                (_, Some(_)) => Bar::Word("broken"),
                (None, _) => return None,
                (Some(spread), _) if spread.median.is_infinite() => Bar::Word("never"),
                (Some(spread), _) => Bar::Ratio(spread.median / reference),
            };
            Some((subject.name, subject.role, bar))
        };
        let title =
            format!("{}   ({} = {} {})", case.id, case.reference().name, told(case, reference), case.unit.name());
        Some(Self { title, bars: case.subjects.iter().filter_map(bar).collect() })
    }

    fn height(&self) -> u32 {
        HEAD + BAR * self.bars.len() as u32 + TAIL
    }

    /// Two columns if there are many.
    fn columns(panels: &[Self]) -> usize {
        if panels.len() > 3 { 2 } else { 1 }
    }

    fn size(panels: &[Self]) -> (u32, u32) {
        let columns = Self::columns(panels);
        let rows = panels.chunks(columns);
        (
            PANEL_WIDTH * columns as u32,
            rows.map(|row| row.iter().map(Self::height).max().unwrap_or(0)).sum::<u32>().max(1),
        )
    }
}

fn told(case: &Case, seconds: f64) -> String {
    number(case.unit.of(seconds))
}

fn bars<DB: DrawingBackend>(area: &Area<'_, DB>, panels: &[Panel]) -> Drawn
where
    DB::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let columns = Panel::columns(panels);
    let mut top = 0;
    for row in panels.chunks(columns) {
        for (column, panel) in row.iter().enumerate() {
            draw_panel(area, panel, column as i32 * PANEL_WIDTH as i32, top)?;
        }
        top += row.iter().map(Panel::height).max().unwrap_or(0) as i32;
    }
    Ok(())
}

fn draw_panel<DB: DrawingBackend>(area: &Area<'_, DB>, panel: &Panel, left: i32, top: i32) -> Drawn
where
    DB::ErrorType: 'static,
{
    let ratios =
        panel.bars.iter().filter_map(|(_, _, bar)| if let Bar::Ratio(ratio) = bar { Some(*ratio) } else { None });
    let (low, high) = ratios.fold((0.5_f64, 2.0_f64), |(low, high), ratio| (low.min(ratio), high.max(ratio)));
    let (low, high) = (low.log10().floor().max(-6.0), high.log10().ceil().min(9.0));
    let width = f64::from(PANEL_WIDTH as i32 - NAMES - 70);
    let x = |ratio: f64| left + NAMES + ((ratio.log10() - low) / (high - low) * width) as i32;
    let bottom = top + (HEAD + BAR * panel.bars.len() as u32) as i32;
    text(area, &panel.title, (left + 8, top + 14), 15.0, INK, HPos::Left)?;
    text(area, "time, relative to shmkit", (left + NAMES, top + 34), 11.0, LIMIT, HPos::Left)?;
    for power in low as i32..=high as i32 {
        let at = x(10_f64.powi(power));
        area.draw(&PathElement::new([(at, top + HEAD as i32 - 4), (at, bottom)], FAINT))?;
        let label = if power < 0 {
            format!("1/{}", 10_u64.pow(power.unsigned_abs()))
        } else {
            10_u64.pow(power.unsigned_abs()).to_string()
        };
        text(area, &label, (at, bottom + 7), 10.0, LIMIT, HPos::Center)?;
    }
    let one = x(1.0);
    for (i, (name, role, bar)) in panel.bars.iter().enumerate() {
        let middle = top + HEAD as i32 + i as i32 * BAR as i32 + BAR as i32 / 2;
        let colour = match role {
            Role::Ours => OURS,
            Role::Peer => PEER,
            Role::Limit => LIMIT,
        };
        text(area, name, (left + NAMES - 8, middle), 13.0, INK, HPos::Right)?;
        match bar {
            Bar::Ratio(ratio) => {
                let (from, to) = (one.min(x(*ratio)), one.max(x(*ratio)).max(one + 2));
                area.draw(&Rectangle::new([(from, middle - 6), (to, middle + 6)], colour.filled()))?;
                text(area, &number(*ratio), (to + 5, middle), 12.0, INK, HPos::Left)?;
            }
            Bar::Word(word) => text(area, word, (one + 5, middle), 12.0, RED, HPos::Left)?,
        }
    }
    area.draw(&PathElement::new([(one, top + HEAD as i32 - 4), (one, bottom)], INK))?;
    Ok(())
}

/// The medians of a subject over the number of processes.
struct Line {
    name: &'static str,
    role: Role,
    points: Vec<(usize, f64)>,
}

impl Line {
    fn all(cases: &[Case], record: &Record, family: &str) -> Vec<Self> {
        let mut lines: Vec<Self> = Vec::new();
        for case in cases {
            let Some((_, processes)) = case.scaling.filter(|(known, _)| *known == family) else { continue };
            for subject in &case.subjects {
                let median = record.of(case, subject.name).and_then(|run| run.spread()).map(|spread| spread.median);
                let Some(median) = median.filter(|median| median.is_finite()) else { continue };
                let line = match lines.iter_mut().find(|line| line.name == subject.name) {
                    Some(line) => line,
                    None => {
                        lines.push(Self { name: subject.name, role: subject.role, points: Vec::new() });
                        lines.last_mut().expect("just pushed")
                    }
                };
                line.points.push((processes, median));
            }
        }
        lines
    }
}

fn scaling<DB: DrawingBackend>(area: &Area<'_, DB>, family: &str, lines: &[Line]) -> Drawn
where
    DB::ErrorType: 'static,
{
    const LEFT: i32 = 80;
    const RIGHT: i32 = 620;
    const TOP: i32 = 50;
    const BOTTOM: i32 = 510;
    area.fill(&WHITE)?;
    text(area, &format!("{family}: time of one operation, over all processes"), (14, 20), 17.0, INK, HPos::Left)?;
    let medians = || lines.iter().flat_map(|line| line.points.iter().map(|(_, seconds)| seconds.log10()));
    let low = medians().fold(f64::INFINITY, f64::min).floor();
    let high = medians().fold(f64::NEG_INFINITY, f64::max).ceil().max(low + 1.0);
    let y = |seconds: f64| BOTTOM - ((seconds.log10() - low) / (high - low) * f64::from(BOTTOM - TOP)) as i32;
    let last = SCALE.len() as i32 - 1;
    let x = |processes: usize| LEFT + 20 + processes.ilog2() as i32 * (RIGHT - LEFT - 40) / last;
    for power in low as i32..=high as i32 {
        let at = y(10_f64.powi(power));
        area.draw(&PathElement::new([(LEFT, at), (RIGHT, at)], FAINT))?;
        text(area, &seconds(power), (LEFT - 8, at), 12.0, INK, HPos::Right)?;
    }
    for processes in SCALE {
        area.draw(&PathElement::new([(x(processes), BOTTOM), (x(processes), BOTTOM + 4)], INK))?;
        text(area, &processes.to_string(), (x(processes), BOTTOM + 14), 12.0, INK, HPos::Center)?;
    }
    text(area, "processes", ((LEFT + RIGHT) / 2, BOTTOM + 34), 12.0, INK, HPos::Center)?;
    area.draw(&PathElement::new([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], INK))?;
    let mut colours = LINES.iter().cycle();
    for (i, line) in lines.iter().enumerate() {
        let (colour, width) = match line.role {
            Role::Ours => (OURS, 3),
            Role::Peer => (*colours.next().unwrap_or(&PEER), 1),
            Role::Limit => (LIMIT, 1),
        };
        let points: Vec<_> = line.points.iter().map(|(processes, seconds)| (x(*processes), y(*seconds))).collect();
        area.draw(&PathElement::new(points.clone(), colour.stroke_width(width)))?;
        for point in points {
            area.draw(&Circle::new(point, if width > 1 { 4 } else { 3 }, colour.filled()))?;
        }
        let at = TOP + i as i32 * 22;
        area.draw(&PathElement::new([(RIGHT + 20, at), (RIGHT + 44, at)], colour.stroke_width(width)))?;
        text(area, line.name, (RIGHT + 52, at), 12.0, INK, HPos::Left)?;
    }
    Ok(())
}

/// A power of ten of seconds.
fn seconds(power: i32) -> String {
    let (unit, below) = match power {
        ..-6 => ("ns", -9),
        -6..-3 => ("us", -6),
        -3..0 => ("ms", -3),
        0.. => ("s", 0),
    };
    let value = 10_f64.powi(power - below);
    format!("{value} {unit}")
}

fn text<DB: DrawingBackend>(
    area: &Area<'_, DB>,
    words: &str,
    at: (i32, i32),
    size: f64,
    colour: RGBColor,
    side: HPos,
) -> Drawn
where
    DB::ErrorType: 'static,
{
    let style = (FONT, size).into_text_style(area).color(&colour).pos(Pos::new(side, VPos::Center));
    Ok(area.draw_text(words, &style, at)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{plan, record::Run};

    #[test]
    fn both_kinds_of_files_are_drawn() {
        let cases: Vec<_> = plan::cases().into_iter().filter(|case| case.workload() == "barrier").collect();
        let mut record = Record::default();
        for case in &cases {
            for (n, subject) in case.subjects.iter().enumerate() {
                let seconds = vec![Some(1e-7 * 3_f64.powi(n as i32))];
                let broken = (n == 2).then(|| "wrong".to_owned());
                let (case, subject) = (case.id.clone(), subject.name.to_owned());
                record.runs.push(Run { case, subject, seconds, broken, ..Run::default() });
            }
        }
        let folder = std::env::temp_dir().join(crate::sample::name("plots"));
        fs::create_dir_all(&folder).expect("a folder");
        let plots = write(&cases, &record, &folder).expect("plots");
        let names: Vec<_> = plots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ratios-barrier", "scaling-barrier"]);
        for name in names {
            let svg = fs::read_to_string(folder.join(format!("{name}.svg"))).expect("a file");
            assert!(svg.contains("shmkit Barrier") && svg.contains("</svg>"));
            let png = fs::read(folder.join(format!("{name}.png"))).expect("a file");
            assert!(png.starts_with(b"\x89PNG") && png.len() > 2000);
        }
        let svg = fs::read_to_string(folder.join("ratios-barrier.svg")).expect("a file");
        assert!(svg.contains("broken"));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn powers_of_ten() {
        assert_eq!(
            [-9, -7, -6, -4, -3, -1, 0, 1].map(seconds),
            ["1 ns", "100 ns", "1 us", "100 us", "1 ms", "100 ms", "1 s", "10 s"]
        );
    }
}
