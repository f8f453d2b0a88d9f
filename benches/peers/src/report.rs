//! What was found, as a page to read: `report.md`.

use std::fmt::{self, Write};

use crate::{
    plan::{Case, Role},
    record::{Record, Run},
};

/// A peer is ahead if it takes less than this part of shmkit's time: less is noise.
const AHEAD: f64 = 0.97;

/// Three digits, and as many more as a whole number has.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_infinite() => "never".into(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The page. `plots` are the names of the files beside it, each with the workload that it shows.
pub(crate) fn write(cases: &[Case], record: &Record, plots: &[(String, String)]) -> Result<String, fmt::Error> {
    let mut page = String::new();
    let machine = &record.machine;
    writeln!(page, "# shmkit and its peers\n")?;
    writeln!(
        page,
        "{}, {} cores, Linux {}, {}, {}; load average {} when the run began.\n",
        machine.processor, machine.cores, machine.kernel, machine.libc, machine.python, machine.load
    )?;
    writeln!(
        page,
        "Times are for one operation: the median of interleaved rounds, each in processes of its own, and the quartiles. \
         *Ratio* is the time of the peer divided by that of the first line, which is shmkit's: more than 1 is slower than \
         shmkit. *Fair* is what the slowest worker did, as a part of an equal share. Every figure was checked: what lost \
         an increment or a message, crashed or hung is *broken*. Those that say *threads* know no other processes; a \
         *limit* spins, knows no deaths and no sleep, or does only what the kernel must.\n"
    )?;
    behind(&mut page, cases, record)?;
    let mut workloads: Vec<&str> = Vec::new();
    for case in cases.iter().filter(|case| case.workload() != "death") {
        if !workloads.contains(&case.workload()) && is_known(case, record) {
            workloads.push(case.workload());
        }
    }
    for workload in workloads {
        writeln!(page, "## {workload}\n")?;
        for (name, shown) in plots.iter().filter(|(_, shown)| shown == workload) {
            writeln!(page, "![{shown}]({name}.svg)\n")?;
        }
        for case in cases.iter().filter(|case| case.workload() == workload && is_known(case, record)) {
            table(&mut page, case, record)?;
        }
    }
    deaths(&mut page, cases, record)?;
    Ok(page)
}

fn is_known(case: &Case, record: &Record) -> bool {
    record.runs.iter().any(|run| run.case == case.id)
}

/// The peers that are ahead of the best of shmkit's.
pub(crate) fn ahead<'a>(case: &'a Case, record: &'a Record) -> Vec<(&'a str, f64)> {
    let median = |name| record.of(case, name)?.spread().map(|spread| spread.median);
    let of = |role| case.subjects.iter().filter(move |subject| subject.role == role).map(|subject| subject.name);
    let Some(best) = of(Role::Ours).filter_map(median).reduce(f64::min) else {
        return Vec::new();
    };
    let ratios = of(Role::Peer).filter_map(|name| Some((name, median(name)? / best)));
    let mut ahead: Vec<_> = ratios.filter(|(_, ratio)| *ratio < AHEAD).collect();
    ahead.sort_by(|a, b| a.1.total_cmp(&b.1));
    ahead
}

fn behind(page: &mut String, cases: &[Case], record: &Record) -> fmt::Result {
    writeln!(page, "## Where shmkit is not first\n")?;
    let mut are_none = true;
    for case in cases.iter().filter(|case| !case.is_death() && is_known(case, record)) {
        let ahead = ahead(case, record);
        if !ahead.is_empty() {
            are_none = false;
            let ahead: Vec<_> = ahead.iter().map(|(name, ratio)| format!("{name} {}", number(*ratio))).collect();
            writeln!(page, "- **{}** ({}): {}", case.id, case.about, ahead.join(", "))?;
        }
    }
    if are_none {
        writeln!(page, "Nowhere.")?;
    }
    writeln!(page)
}

fn table(page: &mut String, case: &Case, record: &Record) -> fmt::Result {
    writeln!(page, "### {}\n\n{}, in {}.\n", case.id, capitalised(&case.about), case.unit.name())?;
    writeln!(page, "| | median | quartiles | ratio | fair |\n| --- | --: | --: | --: | --: |")?;
    let reference = record.reference(case);
    for subject in &case.subjects {
        let Some(run) = record.of(case, subject.name) else { continue };
        let name = if subject.role == Role::Ours { format!("**{}**", subject.name) } else { subject.name.to_owned() };
        match (run.spread(), &run.left_out, &run.broken) {
            (_, _, Some(reason)) => writeln!(page, "| {name} | **broken**: {} | | | |", one_line(reason))?,
            (_, Some(reason), _) => writeln!(page, "| {name} | left out: {} | | | |", one_line(reason))?,
            (None, ..) => writeln!(page, "| {name} | no samples | | | |")?,
            (Some(spread), ..) => {
                let told = |seconds: f64| number(case.unit.of(seconds));
                let ratio = reference.map(|reference| number(spread.median / reference)).unwrap_or_default();
                writeln!(
                    page,
                    "| {name} | {} | {} to {} | {ratio} | {} |",
                    told(spread.median),
                    told(spread.low),
                    told(spread.high),
                    fair(run)
                )?;
            }
        }
    }
    writeln!(page)
}

fn fair(run: &Run) -> String {
    crate::stats::Spread::of(&run.least).map(|spread| format!("{:.2}", spread.median)).unwrap_or_default()
}

fn deaths(page: &mut String, cases: &[Case], record: &Record) -> fmt::Result {
    let cases: Vec<_> = cases.iter().filter(|case| case.is_death() && is_known(case, record)).collect();
    if cases.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "## What a death costs\n\nTried with SIGKILL. *After* is the time from the kill (or, for one that waits, from what the \
         others waited for) until a survivor has gone on; the slowest of all kills where there are many. Two seconds are for ever.\n"
    )?;
    for case in cases {
        writeln!(page, "**{}**: {}.\n\n| | what happens | after |\n| --- | --- | --: |", case.id, case.about)?;
        for subject in &case.subjects {
            let Some(run) = record.of(case, subject.name) else { continue };
            let name =
                if subject.role == Role::Ours { format!("**{}**", subject.name) } else { subject.name.to_owned() };
            let after = match run.spread() {
                Some(spread) if spread.median.is_infinite() => "never".into(),
                Some(spread) => format!("{} ms", number(spread.median * 1e3)),
                None => String::new(),
            };
            writeln!(page, "| {name} | {} | {after} |", verdict(run))?;
        }
        writeln!(page)?;
    }
    Ok(())
}

/// What happened, in all rounds: the same, as a rule.
pub(crate) fn verdict(run: &Run) -> String {
    if let Some(reason) = &run.left_out {
        return format!("left out: {}", one_line(reason));
    }
    if let Some(reason) = &run.broken {
        return format!("**broken**: {}", one_line(reason));
    }
    let mut different: Vec<String> = Vec::new();
    for verdict in &run.verdicts {
        let verdict = one_line(&without_numbers_of_processes(verdict));
        if !different.contains(&verdict) {
            different.push(verdict);
        }
    }
    different.join("; or ")
}

/// The ids of processes differ in each round.
fn without_numbers_of_processes(verdict: &str) -> String {
    let mut words = verdict.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word.to_owned());
        let is_number = |next: &&str| next.starts_with(|c: char| c.is_ascii_digit());
        if matches!(word, "process" | "pid")
            && let Some(number) = words.next_if(is_number)
        {
            kept.push(format!("N{}", number.trim_start_matches(|c: char| c.is_ascii_digit())));
        }
    }
    kept.join(" ")
}

/// As the cell of a table.
fn one_line(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{self, Unit, ours, peer},
        sample::Setup,
    };

    fn case() -> Case {
        let never = |_: &Setup| Err("not run".into());
        let subjects = vec![ours("shmkit It", never), peer("a peer", never), peer("another", never)];
        Case::new("lock/it".into(), "a trial".into(), Unit::Nanoseconds, Setup::ONE, subjects)
    }

    fn run(subject: &str, seconds: &[f64]) -> Run {
        let seconds = seconds.iter().copied().map(Some).collect();
        Run { case: "lock/it".into(), subject: subject.into(), seconds, ..Run::default() }
    }

    #[test]
    fn ratios_and_who_is_ahead() {
        let broken = Run { broken: Some("lost | 1".into()), ..run("another", &[1e-12]) };
        let runs = vec![run("shmkit It", &[20e-9, 22e-9, 21e-9]), run("a peer", &[10.5e-9]), broken];
        let record = Record { runs, ..Record::default() };
        let page = write(&[case()], &record, &[("plot".into(), "lock".into())]).expect("a page");
        assert!(page.contains("| **shmkit It** | 21.0 | 20.5 to 21.5 | 1.00 |"), "{page}");
        assert!(page.contains("| a peer | 10.5 | 10.5 to 10.5 | 0.50 |"), "{page}");
        assert!(page.contains("| another | **broken**: lost \\| 1 |"), "{page}");
        assert!(page.contains("- **lock/it** (a trial): a peer 0.50\n"), "{page}");
        assert!(page.contains("![lock](plot.svg)"), "{page}");
    }

    #[test]
    fn a_death() {
        let cases: Vec<_> = plan::cases().into_iter().filter(|case| case.id == "recovery/lock, holder").collect();
        let told = Run {
            case: cases[0].id.clone(),
            subject: "shmkit Lock".into(),
            seconds: vec![Some(0.5e-3)],
            verdicts: vec!["goes on, told of process 12".into(), "goes on, told of process 13".into()],
            ..Run::default()
        };
        let verdicts = vec!["hangs for ever".into()];
        let hangs = Run { subject: "raw_sync Mutex".into(), seconds: vec![None], verdicts, ..told.clone() };
        let page = write(&cases, &Record { runs: vec![told, hangs], ..Record::default() }, &[]).expect("a page");
        assert!(page.contains("| **shmkit Lock** | goes on, told of process N | 0.50 ms |"), "{page}");
        assert!(page.contains("| raw_sync Mutex | hangs for ever | never |"), "{page}");
    }
}
