#![doc = include_str!("LAYOUT.md")]

#[cfg(test)]
mod tests {
    use super::super::{
        header::{self, LAYOUT_VERSION},
        object::{self, Kind},
    };

    const TEXT: &str = include_str!("LAYOUT.md");

    /// The rows of the tables under a heading, by their cells.
    fn rows(heading: &str) -> Vec<Vec<&str>> {
        let section = TEXT.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        section
            .lines()
            .filter(|line| line.starts_with("| "))
            .map(cells)
            .filter(|row| row[0].parse::<u64>().is_ok())
            .collect()
    }

    fn fields(heading: &str) -> Vec<(usize, usize, &str)> {
        rows(heading).iter().map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap(), row[2])).collect()
    }

    /// Every field that the document has is where it says, and no byte of a struct is left out.
    #[test]
    fn the_document_is_true() {
        for (heading, documented, size) in
            [("The header", header::FIELDS, header::SIZE as usize), ("An object", object::FIELDS, 40)]
        {
            let fields = fields(heading);
            assert_eq!(fields.iter().map(|(at, _, name)| (*name, *at)).collect::<Vec<_>>(), documented, "{heading}");
            let end = fields.iter().fold(0, |end, (at, bytes, name)| {
                assert_eq!(*at, end, "{name}");
                at + bytes
            });
            assert_eq!(end, size, "{heading}");
        }
        assert!(TEXT.contains(&format!("This is version {LAYOUT_VERSION}.")));
    }

    #[test]
    fn the_kinds_are_true() {
        let kinds = [Kind::Value, Kind::Array, Kind::AtomicValue, Kind::AtomicArray, Kind::RawArray];
        let ours: Vec<_> = kinds.into_iter().map(|kind| [(kind as u8).to_string(), kind.head().to_string()]).collect();
        let documented: Vec<_> = rows("Kinds").iter().map(|row| [row[0].to_owned(), row[1].to_owned()]).collect();
        assert_eq!(documented, ours);
        assert!(kinds.iter().all(|kind| kind.align() == 8));
    }
}
