//! The device under the data: nine kinds of cards, known by a probe in virtual time, and members that live by
//! what a probe has found.
mod card;
mod members;

use std::path::Path;
use std::time::Duration;

use bramble_bench::cardsim::cost::{PRESETS, Preset};
use bramble_server::media::device::Hint;
use bramble_server::media::judge::judge;
use bramble_server::media::{Media, probe};
use bramble_store::disk::sim::Rng;
use bramble_store::disk::{Disk, Open};
use bramble_store::seams::Clock;

use card::CardDisk;

/// Each card, what the kernel says of it on its board, the kind it is there, and the kind it is for who knows
/// nothing but times: behind a USB reader, or under a virtual machine.
const EXPECTED: [(&str, Option<Hint>, Media, Media); 9] = [
    ("cheap", Some(Hint::Sd), Media::SdBasic, Media::SdBasic),
    ("ultra8", Some(Hint::Sd), Media::SdBasic, Media::SdBasic),
    ("a1", Some(Hint::Sd), Media::SdA1, Media::SdA1),
    ("a1_ultra", Some(Hint::Sd), Media::SdA1, Media::SdA1),
    ("a2", Some(Hint::Sd), Media::SdA1, Media::SdA1),
    ("a2_cq", Some(Hint::Sd), Media::SdA1, Media::SdA1),
    ("industrial", Some(Hint::Sd), Media::SdA1, Media::SdA1),
    // Alike to a good card in all that can be timed.
    ("emmc", Some(Hint::Mmc), Media::Emmc, Media::SdA1),
    ("usb_ssd", None, Media::Ssd, Media::Ssd),
];

const SEED: u64 = 20_261_122;
/// Places on each card, and lives that it had before.
const CARDS_OF_A_KIND: u64 = 20;

fn data() -> &'static Path {
    Path::new("/data")
}

#[test]
fn all_nine_cards_are_known_wherever_the_file_lies_and_whatever_was_before() {
    assert_eq!(EXPECTED.map(|(name, ..)| name), PRESETS.map(|preset| preset.name), "every card is tried");
    let mut random = Rng::new(SEED);
    for (name, hint, on_board, unknown) in EXPECTED {
        let preset = Preset::named(name).expect("it is among them");
        let mut longest = Duration::ZERO;
        for _ in 0..CARDS_OF_A_KIND {
            let disk = CardDisk::new(preset, 4096 * random.below(40_000));
            disk.wear_in(&mut random);
            let (begun, before) = (disk.now(), disk.written_bytes());
            let measured = probe::run(&disk, &disk, data()).expect("it is measured");
            longest = longest.max(disk.now() - begun);
            assert_eq!(judge(&measured, hint), on_board, "{name}, seed {SEED}: {measured:?}");
            assert_eq!(judge(&measured, None), unknown, "{name} by times alone, seed {SEED}: {measured:?}");
            let written = disk.written_bytes() - before;
            assert!(written > 0 && written <= probe::WRITTEN_BYTES_MAX, "{written} bytes");
            assert!(!disk.exists(&data().join(probe::FILE)).expect("asked"), "{name}: the file is left");
        }
        println!("{name}: {} by the kernel's word, {} without; {longest:?}", on_board.word(), unknown.word());
        assert!(longest < Duration::from_secs(8), "{name}: {longest:?}");
    }
}

#[test]
fn a_probe_that_fails_says_where_and_leaves_nothing() {
    let preset = Preset::named("a1").expect("it is among them");
    for call in 0..12 {
        let disk = CardDisk::new(preset, 0);
        disk.fail_after(call);
        let error = probe::run(&disk, &disk, data()).expect_err("the disk fails").to_string();
        assert!(error.contains("/data/MEDIA.probe"), "{error}");
        assert!(!disk.exists(&data().join(probe::FILE)).expect("asked"), "the file is left");
    }
}

#[test]
fn what_a_killed_probe_left_is_in_nobodys_way() {
    let disk = CardDisk::new(Preset::named("a1").expect("it is among them"), 0);
    drop(disk.open(&data().join(probe::FILE), Open::CreateNew).expect("made"));
    probe::run(&disk, &disk, data()).expect("it is measured");
    assert!(!disk.exists(&data().join(probe::FILE)).expect("asked"));
}
