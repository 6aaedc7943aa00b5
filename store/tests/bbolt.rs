//! bbolt's file, written and read: what comes out is what was put in, for every shape of tree.
mod common;

use bramble_store::snapshot::bbolt::{Bbolt, BboltError, Writer};
use common::{Random, with_seeds};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

const NAMES: [&str; 3] = ["first", "second", "third"];

fn file(buckets: &[Pairs]) -> Vec<u8> {
    let pass = || {
        let (mut writer, mut out) = (Writer::default(), Vec::new());
        for (name, pairs) in NAMES.iter().zip(buckets) {
            for (key, value) in pairs {
                writer.put(key, value).expect("sorted");
                if writer.ready_bytes() > 10_000 {
                    out.extend(writer.take());
                }
            }
            writer.end_bucket(name);
        }
        let (rest, layout) = writer.finish();
        out.extend(rest);
        (out, layout)
    };
    let ((pages, layout), (_, again)) = (pass(), pass());
    assert_eq!(layout, again, "the same keys, the same file");
    let file = [layout.metas(), pages].concat();
    assert_eq!(file.len() as u64, layout.bytes());
    file
}

fn read(file: &[u8]) -> Result<Vec<Pairs>, BboltError> {
    let mut bbolt = Bbolt::open(file)?;
    let buckets = bbolt.buckets()?;
    let names: Vec<&[u8]> = buckets.iter().map(|bucket| &bucket.name[..]).collect();
    assert!(names.is_sorted() && names.len() <= NAMES.len());
    let mut all = Vec::new();
    for bucket in &buckets {
        let mut pairs = Pairs::new();
        bbolt.walk(bucket, |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok::<(), BboltError>(())
        })?;
        all.push(pairs);
    }
    bbolt.check_freelist()?;
    Ok(all)
}

fn numbered(count: u32, value: impl Fn(u32) -> Vec<u8>) -> Pairs {
    (0..count).map(|n| (n.to_be_bytes().to_vec(), value(n))).collect()
}

#[test]
fn every_shape_of_tree_comes_back() {
    let small = |n: u32| vec![n as u8; (n % 40) as usize];
    let large = |n: u32| vec![n as u8; (n * 977 % 20_000) as usize];
    let mut shapes: Vec<Pairs> = [0, 1, 2, 3, 80, 81, 150, 151, 400].map(|n| numbered(n, small)).into();
    shapes.push(numbered(100, large));
    shapes.push(numbered(3, |_| vec![7; 1 << 20]));
    // Three levels of branches; and keys of which hardly two go into one.
    shapes.push(numbered(60_000, |_| Vec::new()));
    shapes.push((0..30_u8).map(|n| (vec![n; 32_768], vec![n])).collect());
    shapes.push((0..200_u8).map(|n| (vec![n; 1_900], Vec::new())).collect());
    for shape in &shapes {
        let buckets = [shape.clone(), Pairs::new(), shape.clone()];
        assert!(read(&file(&buckets)).expect("readable") == buckets, "{} keys", shape.len());
    }
}

#[test]
fn random_trees_come_back() {
    with_seeds(30, |random| {
        let mut pairs = Pairs::new();
        for _ in 0..random.below(3_000) {
            let key = bytes(random, 1, 60);
            let value = match random.one_in(50) {
                true => bytes(random, 0, 9_000),
                false => bytes(random, 0, 200),
            };
            pairs.push((key, value));
        }
        pairs.sort();
        pairs.dedup_by(|one, other| one.0 == other.0);
        let buckets = [Pairs::new(), pairs];
        assert!(read(&file(&buckets)).expect("readable") == buckets);
    });
}

fn bytes(random: &mut Random, min: usize, max: usize) -> Vec<u8> {
    let length = min + random.below(max - min + 1);
    (0..length).map(|_| random.next_u64() as u8).collect()
}

#[test]
fn keys_that_do_not_ascend_are_not_written() {
    let mut writer = Writer::default();
    writer.put(b"b", b"").expect("the first");
    for key in [&b"b"[..], b"a", b"", &[b'c'; 32_769]] {
        assert!(writer.put(key, b"").is_err());
    }
    writer.put(b"ba", b"").expect("behind it");
}

/// What is refused names the page and what is wrong with it.
#[test]
fn damage_is_named() {
    let whole = file(&[numbered(300, |n| vec![n as u8; 30])]);
    let told = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = whole.clone();
        change(&mut damaged);
        read(&damaged).expect_err("damaged").to_string()
    };
    let word = |at: usize, value: u32| {
        move |file: &mut Vec<u8>| file[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    let page = |number: usize| number * 4096;
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let expected: [(Change<'_>, &str); 10] = [
        (&|file| file.truncate(page(5)), "it was cut off"),
        (&|file| file.truncate(100), "it was cut off"),
        (&|file| file.truncate(50), "not a database of etcd"),
        (&|file| file[16..page(1) + 100].fill(0), "not a database of etcd"),
        (&word(page(3), 9), "page 3 is damaged: it says that it is page 9"),
        (&word(page(3) + 8, 3), "page 3 is damaged: it is of no known kind"),
        (&word(page(3) + 12, 5), "is used twice"),
        (&word(page(3) + 12, u32::MAX), "page 3 is damaged: it takes pages 3"),
        (&word(page(2) + 20, 8), "page 2 is damaged: element 0 lies among the heads"),
        (&word(page(2) + 28, 5_000), "page 2 is damaged: element 0 ends at"),
    ];
    for (change, text) in expected {
        let told = told(change);
        assert!(told.contains(text), "{told:?} instead of {text:?}");
    }
}

/// A tree that leads back into itself ends.
#[test]
fn circles_are_refused() {
    let mut circle = file(&[numbered(300, |n| vec![n as u8; 30])]);
    let branch = (2..circle.len() / 4096).find(|page| circle[page * 4096 + 8] == 1).expect("it has a branch");
    let first_child = branch * 4096 + 16 + 8;
    circle[first_child..first_child + 8].copy_from_slice(&(branch as u64).to_le_bytes());
    let told = read(&circle).expect_err("a circle").to_string();
    assert!(told.contains(&format!("page {branch} is used twice")), "{told}");
}

/// One whole meta will do: a commit that was cut short leaves no more.
#[test]
fn either_meta_is_enough() {
    let buckets = [numbered(10, |_| Vec::new())];
    let whole = file(&buckets);
    for meta in [0, 4096] {
        let mut torn = whole.clone();
        torn[meta + 16..meta + 80].fill(0xff);
        assert_eq!(read(&torn).expect("the other one is whole"), buckets);
    }
}
