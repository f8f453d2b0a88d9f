//! Which pages memory has got, and getting them all at once.

use std::{fs, io, ops::Range};

/// What `/proc/self/smaps` tells of some addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Bytes of a page; the smallest of them, where they differ.
    pub(crate) size: u64,
    /// Bytes that this process has touched.
    pub(crate) resident: u64,
    /// Of these the bytes in huge pages.
    pub(crate) huge: u64,
}

pub(crate) fn at(addresses: Range<usize>) -> io::Result<Pages> {
    Ok(parse(&fs::read_to_string("/proc/self/smaps")?, addresses))
}

fn parse(text: &str, addresses: Range<usize>) -> Pages {
    let (mut pages, mut inside) = (Pages::default(), false);
    for line in text.lines() {
        if let Some(area) = area(line) {
            inside = addresses.start <= area.start && area.end <= addresses.end;
        } else if inside && let Some((key, bytes)) = entry(line) {
            match key {
                "KernelPageSize" if pages.size == 0 || bytes < pages.size => pages.size = bytes,
                "Rss" => pages.resident += bytes,
                "ShmemPmdMapped" | "FilePmdMapped" => pages.huge += bytes,
                "Shared_Hugetlb" | "Private_Hugetlb" => {
                    // Not among those of `Rss`.
                    pages.resident += bytes;
                    pages.huge += bytes;
                }
                _ => {}
            }
        }
    }
    pages
}

/// `7f00-7f80 rw-s ...`
fn area(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// `Rss:      4 kB`
fn entry(line: &str) -> Option<(&str, u64)> {
    let (key, value) = line.split_once(':')?;
    Some((key, value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)?))
}

/// The bytes of the machine's usual huge page, 0 where it has none.
pub(crate) fn huge_page_size() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines().find_map(|line| entry(line).filter(|(key, _)| *key == "Hugepagesize")).map_or(0, |(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
7f0000000000-7f0000400000 rw-s 00000000 00:01 2050    /memfd:shmkit (deleted)
Size:               4096 kB
KernelPageSize:        4 kB
Rss:                2052 kB
ShmemPmdMapped:     2048 kB
Shared_Hugetlb:        0 kB
VmFlags: rd wr sh mr mw me ms sd hg
7f0000400000-7f0000800000 rw-s 00400000 00:01 2050    /memfd:shmkit (deleted)
KernelPageSize:     2048 kB
Rss:                   0 kB
Shared_Hugetlb:     2048 kB
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]
Rss:                   4 kB
";

    #[test]
    fn the_areas_of_a_mapping_are_added() {
        let start = 0x7f00_0000_0000;
        let kib = |size: u64, resident: u64, huge: u64| Pages {
            size: size << 10,
            resident: resident << 10,
            huge: huge << 10,
        };
        assert_eq!(parse(TEXT, start..start + (8 << 20)), kib(4, 4100, 4096));
        assert_eq!(parse(TEXT, start + (4 << 20)..start + (8 << 20)), kib(2048, 2048, 2048));
        assert_eq!(parse(TEXT, 0..4096), Pages::default());
    }
}
