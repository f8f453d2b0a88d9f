//! Arrays read from plain files by `src/region/LAYOUT.md`, as a program without this library would: offsets come from
//! the tables of the document, and nothing of the library but what makes the files.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use shmkit::{Array, AtomicArray, Error, RawArray, Region, Value};

const DOCUMENT: &str = include_str!("../src/region/LAYOUT.md");

/// A row of the table under `heading` whose cell `at` is `name`.
fn row(heading: &str, at: usize, name: &str) -> Vec<&'static str> {
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
        .find(|cells| cells[at] == name)
        .unwrap_or_else(|| panic!("no {name} in {heading}"))
}

/// The number of this name in a struct that begins at `base`.
fn number(image: &[u8], base: usize, heading: &str, name: &str) -> usize {
    let row = row(heading, 2, name);
    let (at, bytes): (usize, usize) = (row[0].parse().unwrap(), row[1].parse().unwrap());
    let mut number = [0; 8];
    number[..bytes].copy_from_slice(&image[base + at..base + at + bytes]);
    usize::from_le_bytes(number)
}

fn word(image: &[u8], at: usize) -> usize {
    usize::from_le_bytes(image[at..at + 8].try_into().unwrap())
}

/// An array as the document lets one find it.
struct Found<'i> {
    type_name: &'i str,
    shape: Vec<usize>,
    element_size: usize,
    elements: &'i [u8],
}

/// The object of this name, or the one that the region was made for.
fn find<'i>(image: &'i [u8], name: Option<&str>) -> Option<Found<'i>> {
    let header = |field| number(image, 0, "The header", field);
    assert_eq!(&image[..8], b"shmkit\0\xA5");
    assert_eq!((header("version"), header("byte_order"), header("pointer_width")), (1, 0x0102_0304, 64));
    assert_eq!(header("complete"), 1);
    assert!(header("size") <= image.len() && header("committed") <= header("size"));
    let object = |at, field| number(image, at, "An object", field);
    let text = |at: usize, len| std::str::from_utf8(&image[at..at + len]).unwrap();
    let texts = |at| at + 40 + 8 * object(at, "rank");
    let named = |at| text(texts(at) + object(at, "tag_len"), object(at, "name_len"));
    let at = match name {
        None => header("root"),
        Some(name) => {
            let hash =
                name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
            let mut at = word(image, header("table") + 8 * (hash as usize & (header("buckets") - 1)));
            while at != 0 && (object(at, "hash") != hash as usize || named(at) != name) {
                at = object(at, "next");
            }
            at
        }
    };
    if at == 0 {
        return None;
    }
    let shape: Vec<_> = (0..object(at, "rank")).map(|i| word(image, at + 40 + 8 * i)).collect();
    let (element_size, grows) = (object(at, "element_size"), object(at, "flags") & 1 == 1);
    let bytes = shape.iter().product::<usize>() * element_size;
    let head: usize = row("Kinds", 0, &object(at, "kind").to_string())[1].parse().unwrap();
    let align = object(at, "element_align").max(if bytes >= 256 || grows { 64 } else { 8 });
    let body = at + object(at, "body");
    assert_eq!(body % align, 0);
    let data = body + head.next_multiple_of(align);
    assert!(data + bytes <= at + object(at, "size"));
    Some(Found {
        type_name: text(texts(at), object(at, "tag_len")),
        shape,
        element_size,
        elements: &image[data..data + bytes],
    })
}

fn doubles(found: &Found<'_>) -> Vec<f64> {
    assert_eq!((found.type_name, found.element_size), ("f64", 8));
    found.elements.chunks(8).map(|bytes| f64::from_ne_bytes(bytes.try_into().unwrap())).collect()
}

/// A file that goes with this.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("shmkit-layout-{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn an_array_of_its_own() {
    let scratch = Scratch::new("own");
    let array = Array::<f64>::create(scratch.0.as_path(), [10, 7]).unwrap();
    array.lock().unwrap().iter_mut().zip(0..).for_each(|(x, n)| *x = f64::from(n) / 4.0);
    let image = fs::read(&scratch.0).unwrap();
    let found = find(&image, None).unwrap();
    assert_eq!(found.shape, [10, 7]);
    assert_eq!(doubles(&found), array.to_vec().unwrap());
    assert!(find(&image, Some("array")).is_none());
}

#[test]
fn objects_by_name() {
    let scratch = Scratch::new("names");
    let region = Region::create(scratch.0.as_path(), 1 << 16).unwrap();
    // Enough for chains of some length.
    for n in 0..300_u64 {
        Value::new_in(&region, &*format!("value {n}"), n * n).unwrap();
    }
    let small = Array::from_slice_in(&region, "klein, größer", &[1.5, 2.5]).unwrap();
    let raw = RawArray::<u16>::zeros_in(&region, "raw", [3, 100]).unwrap();
    #[expect(unsafe_code, reason = "a raw array is unsafe to change")]
    // SAFETY: nobody else knows of it.
    unsafe { raw.as_mut_slice() }.fill(0x0102);
    AtomicArray::<bool>::zeros_in(&region, "bits", 5).unwrap().store_from(1, &[true, true]).unwrap();
    let rows = Array::<f64>::growable_in(&region, "rows", [0, 3], 1000).unwrap();
    rows.extend_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();

    let image = fs::read(&scratch.0).unwrap();
    for n in 0..300_u64 {
        let found = find(&image, Some(&format!("value {n}"))).unwrap();
        assert_eq!((found.type_name, found.shape.len()), ("u64", 0));
        assert_eq!(found.elements, (n * n).to_ne_bytes());
    }
    assert_eq!(doubles(&find(&image, Some("klein, größer")).unwrap()), small.to_vec().unwrap());
    let found = find(&image, Some("raw")).unwrap();
    assert_eq!((found.type_name, &*found.shape, found.elements), ("u16", &[3, 100][..], &[2, 1].repeat(300)[..]));
    assert_eq!(find(&image, Some("bits")).unwrap().elements, [0, 1, 1, 0, 0]);
    let found = find(&image, Some("rows")).unwrap();
    assert_eq!((&*found.shape, doubles(&found)), (&[2, 3][..], rows.to_vec().unwrap()));
    assert!(find(&image, Some("nothing")).is_none());
}

/// What another program writes by the document, this library reads.
#[test]
fn written_by_the_document() {
    let scratch = Scratch::new("written");
    let array = RawArray::<f64>::create(scratch.0.as_path(), 100).unwrap();
    let image = fs::read(&scratch.0).unwrap();
    let at = find(&image, None).unwrap().elements.as_ptr().addr() - image.as_ptr().addr();
    let file = File::options().write(true).open(&scratch.0).unwrap();
    file.write_all_at(&2.5_f64.to_ne_bytes(), (at + 99 * 8) as u64).unwrap();
    #[expect(unsafe_code, reason = "a raw array is unsafe to look at")]
    // SAFETY: nobody writes any more.
    let last = unsafe { array.as_slice() }[99];
    assert_eq!(last, 2.5);
}

/// The error names both versions.
#[test]
fn of_another_version() {
    let scratch = Scratch::new("version");
    drop(Region::create(scratch.0.as_path(), 1 << 16).unwrap());
    let at: u64 = row("The header", 2, "version")[0].parse().unwrap();
    File::options().write(true).open(&scratch.0).unwrap().write_all_at(&77_u32.to_ne_bytes(), at).unwrap();
    let error = Region::open(scratch.0.as_path()).unwrap_err();
    assert!(matches!(error, Error::VersionMismatch { expected: 1, found: 77 }), "{error}");
    let text = error.to_string();
    assert!(text.contains("77") && text.contains('1'), "{text}");
}
