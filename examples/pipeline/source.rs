//! Where the pipeline begins: the file, cut into blocks of lines.

use std::{
    io::{self, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::digits;

/// A file of digits, and how it is sent through the pipeline.
pub(crate) struct Source {
    text: String,
    pub(crate) lines: usize,
    passes: usize,
    block: usize,
}

/// Some lines of the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Lines {
    /// Which block it is, from the beginning of the first pass on.
    pub(crate) block: usize,
    /// Where in the file they begin: so many lines stand before them.
    pub(crate) first: usize,
    pub(crate) text: String,
}

impl Lines {
    pub(crate) fn count(&self) -> usize {
        self.text.lines().count()
    }
}

impl Source {
    pub(crate) fn read(path: &Path, passes: usize, block: usize) -> io::Result<Self> {
        let mut text = String::new();
        digits::open(path)?.read_to_string(&mut text)?;
        let lines = text.lines().count();
        if lines == 0 {
            return Err(io::Error::other("the file is empty"));
        }
        Ok(Self { text, lines, passes, block })
    }

    /// The whole file as one block.
    pub(crate) fn whole(&self) -> Lines {
        Lines { block: 0, first: 0, text: self.text.clone() }
    }

    /// The blocks of all passes.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Lines> {
        let lines: Vec<&str> = self.text.lines().collect();
        (0..self.block_count()).map(move |block| {
            let first = block % self.blocks_of_a_pass() * self.block;
            let some = &lines[first..self.lines.min(first + self.block)];
            Lines { block, first, text: some.join("\n") }
        })
    }

    pub(crate) fn block_count(&self) -> usize {
        self.passes * self.blocks_of_a_pass()
    }

    /// The images of all passes.
    pub(crate) fn image_count(&self) -> usize {
        self.passes * self.lines
    }

    fn blocks_of_a_pass(&self) -> usize {
        self.lines.div_ceil(self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_every_line_once_a_pass() {
        let source = Source { text: "a\nb\nc\nd\ne\n".into(), lines: 5, passes: 2, block: 2 };
        let blocks: Vec<_> = source.blocks().map(|lines| (lines.block, lines.first, lines.text)).collect();
        let expected = [(0, 0, "a\nb"), (1, 2, "c\nd"), (2, 4, "e"), (3, 0, "a\nb"), (4, 2, "c\nd"), (5, 4, "e")];
        assert_eq!(blocks, expected.map(|(block, first, text)| (block, first, text.to_string())));
        assert_eq!((source.block_count(), source.image_count()), (6, 10));
    }
}
