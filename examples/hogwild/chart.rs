//! A picture of the accuracy over time.

use std::{error, fs::File, io::BufWriter, ops::Range, path::Path};

use plotters::{
    chart::SeriesLabelPosition,
    coord::{Shift, combinators::IntoLogRange},
    prelude::*,
    style::register_font,
};

use crate::training::Run;

/// The picture's size in pixels.
const SIZE: (u32, u32) = (1000, 620);
/// Everything is drawn this many times larger first, then made smaller, so that lines and curves come out smooth.
const SCALE: u32 = 3;

/// The points that are taken together for the bold line.
const WINDOW: usize = 9;

/// The least time that is shown, in seconds.
const SHORTEST: f64 = 1e-3;

const FONT: &str = "Ubuntu";
const INK: RGBColor = RGBColor(0x33, 0x38, 0x3d);
const FAINT: RGBColor = RGBColor(0xe3, 0xe6, 0xe8);
/// Apart from each other for colour-blind eyes too (Okabe and Ito, *Color universal design*, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
];

type Anything = Box<dyn error::Error>;

/// Opens the file for the picture: better to hear before the work that it cannot be written. An old picture stays.
pub(crate) fn open(path: &Path) -> Result<File, String> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    file.map_err(|e| format!("{}: {e}", path.display()))
}

/// Draws one line for each run into a PNG file; `aim` is the accuracy to pass.
pub(crate) fn write(file: File, runs: &[Run], aim: f64) -> Result<(), Anything> {
    // The font comes with a crate (Ubuntu Font Licence 1.0), so that no font library of the system is needed.
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).map_err(|_| "the font is broken")?;
    let (width, height) = (SIZE.0 * SCALE, SIZE.1 * SCALE);
    let mut large = vec![0; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut large, (width, height)).into_drawing_area();
        draw(&area, runs, aim).map_err(|e| e.to_string())?;
        area.present().map_err(|e| e.to_string())?;
    }
    file.set_len(0)?;
    encode(file, &smaller(&large))
}

fn draw<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, runs: &[Run], aim: f64) -> Result<(), Anything>
where
    DB::ErrorType: 'static,
{
    let scale = SCALE as i32;
    let text = |size: i32, colour: RGBColor| (FONT, size * scale).into_font().color(&colour);
    area.fill(&WHITE)?;
    let shown = accuracies(runs);
    let times = times(runs, shown.start);
    let mut chart = ChartBuilder::on(area)
        .caption("Hogwild: one model, many processes, no locks", text(26, INK))
        .margin(18 * scale)
        .margin_right(30 * scale)
        .x_label_area_size(56 * scale)
        .y_label_area_size(68 * scale)
        .build_cartesian_2d(times.clone().log_scale(), shown.clone())?;
    chart
        .configure_mesh()
        .x_desc(format!("time since the start (thin: each test; bold: median of {WINDOW} tests in a row)"))
        .y_desc("accuracy on digits never trained on")
        .x_label_formatter(&|&seconds| time(seconds))
        .y_label_formatter(&|share| format!("{:.0} %", 100.0 * share))
        .x_labels(8)
        .y_labels(11)
        .label_style(text(15, INK))
        .axis_desc_style(text(17, INK))
        .axis_style(INK.stroke_width(SCALE))
        .bold_line_style(FAINT.stroke_width(SCALE))
        .light_line_style(TRANSPARENT)
        .draw()?;

    let aim_line = [(times.start, aim), (times.end, aim)];
    chart
        .draw_series(DashedLineSeries::new(aim_line, 6 * scale, 5 * scale, INK.stroke_width(SCALE)))?
        .label(format!("{:.0} %, the aim", 100.0 * aim))
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 22 * scale, y)], INK.stroke_width(SCALE)));
    for (run, colour) in runs.iter().zip(COLOURS.iter().cycle()) {
        let inside = |line: &[(f64, f64)]| -> Vec<_> {
            entering(line, shown.start).map(|(time, share)| (time.max(times.start), share)).collect()
        };
        let (thin, bold) = (colour.mix(0.35).stroke_width(SCALE), colour.stroke_width(5 * SCALE / 2));
        chart.draw_series(LineSeries::new(inside(&run.accuracy), thin))?;
        chart
            .draw_series(LineSeries::new(inside(&medians(&run.accuracy)), bold))?
            .label(label(run))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22 * scale, y)], bold));
        chart.draw_series([Circle::new((run.seconds, run.reached().max(shown.start)), 4 * scale, colour.filled())])?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .margin(16 * scale)
        .legend_area_size(30 * scale)
        .label_font(text(16, INK))
        .background_style(WHITE)
        .border_style(FAINT.stroke_width(SCALE))
        .draw()?;
    Ok(())
}

fn label(run: &Run) -> String {
    let s = if run.processes == 1 { "" } else { "es" };
    format!("{} process{s}: {:.1} % after {}", run.processes, 100.0 * run.reached(), time(run.seconds))
}

/// Each point becomes the median of the [`WINDOW`] points around it: a few hundred test samples give unsteady shares.
fn medians(line: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let median = |i: usize| {
        // As many to the left as to the right, so that the ends are not drawn towards the middle.
        let reach = (WINDOW / 2).min(i).min(line.len() - 1 - i);
        let mut around: Vec<f64> = line[i - reach..=i + reach].iter().map(|&(_, share)| share).collect();
        around.sort_by(f64::total_cmp);
        (line[i].0, around[reach])
    };
    (0..line.len()).map(median).collect()
}

/// The line from where it first rises above the lower edge of the picture, and never below that.
fn entering(line: &[(f64, f64)], edge: f64) -> impl Iterator<Item = (f64, f64)> {
    let first = line.iter().position(|&(_, share)| share > edge).unwrap_or(0);
    line[first.saturating_sub(1)..].iter().map(move |&(time, share)| (time, share.max(edge)))
}

/// The times to show: from the first line's coming into the picture to a little after the end of the longest.
fn times(runs: &[Run], edge: f64) -> Range<f64> {
    let firsts = runs.iter().filter_map(|run| entering(&run.accuracy, edge).next());
    let first = firsts.map(|(time, _)| time).fold(f64::INFINITY, f64::min);
    let last = runs.iter().map(|r| r.seconds).fold(0.0, f64::max);
    // A logarithmic scale has no 0, and needs some length.
    let last = last.max(10.0 * SHORTEST);
    first.clamp(SHORTEST, last / 2.0)..last * 1.2
}

/// The accuracies to show: the upper part if all runs have got there, else all.
fn accuracies(runs: &[Run]) -> Range<f64> {
    if runs.iter().all(|r| r.reached() > 0.9) { 0.8..1.0 } else { 0.0..1.0 }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.995 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{} s", (s * 10.0).round() / 10.0),
        s => format!("{s:.0} s"),
    }
}

/// Each pixel of the picture is the mean of those that it was drawn with.
fn smaller(large: &[u8]) -> Vec<u8> {
    let (width, scale) = (SIZE.0 as usize, SCALE as usize);
    let mut sums = vec![0_u32; width * SIZE.1 as usize * 3];
    for (y, row) in large.chunks(width * scale * 3).enumerate() {
        for (x, pixel) in row.chunks(3).enumerate() {
            let at = (y / scale * width + x / scale) * 3;
            for (sum, &value) in sums[at..].iter_mut().zip(pixel) {
                *sum += u32::from(value);
            }
        }
    }
    sums.iter().map(|sum| (sum / (SCALE * SCALE)) as u8).collect()
}

fn encode(file: File, pixels: &[u8]) -> Result<(), Anything> {
    let mut encoder = png::Encoder::new(BufWriter::new(file), SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    Ok(writer.finish()?)
}
