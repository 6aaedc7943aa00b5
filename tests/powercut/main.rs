//! The power goes while the shipped server is written to, on a real file system whose disk forgets what was
//! not flushed; then everything that was acknowledged is there, and the server starts without hands.
//!
//! `BRAMBLE_POWERCUT_CUTS` is how often, `BRAMBLE_POWERCUT_SEED` repeats the choices of a run (not its
//! timing), and `BRAMBLE_POWERCUT_KEEP` is a folder for the card's image when something is wrong.
mod faults;
mod lab;
mod ledger;
mod load;
mod rot;
mod shown;
mod stalls;

use bramble_bench::cardsim::{CardOptions, Cut};
use bramble_tests::chance::Chance;
use lab::Lab;
use ledger::Findings;

/// After so many cuts there is a fresh card.
const CUTS_PER_CARD: u64 = 20;
/// A card that lies is caught within so many cuts.
const LIES_CAUGHT_WITHIN: u64 = 3;

/// How many cuts a run has.
fn cuts_wanted(usual: u64) -> u64 {
    let given = std::env::var("BRAMBLE_POWERCUT_CUTS").ok();
    given.map_or(usual, |text| text.parse().expect("BRAMBLE_POWERCUT_CUTS is a number"))
}

fn seed() -> u64 {
    let seed = Chance::seed_from("BRAMBLE_POWERCUT_SEED");
    println!("BRAMBLE_POWERCUT_SEED={seed}");
    seed
}

/// Leaves the image for whoever wants to know why, and ends the test.
fn violated(lab: &Lab, what: &str) -> ! {
    if let Some(folder) = std::env::var_os("BRAMBLE_POWERCUT_KEEP") {
        let kept = std::path::Path::new(&folder).join(format!("card-{}", std::process::id()));
        std::fs::copy(lab.card.image(), &kept).ok();
        println!("the card is kept in {}", kept.display());
    }
    panic!("after cut {}: {what}\n{}", lab.tally.cuts, lab.tally)
}

/// Cuts under load and while starting, again and again, each on one of `mounts`.
async fn nothing_acknowledged_is_lost(options: CardOptions, mounts: &[&str], usual: u64) {
    let name = options.file_system.name();
    let Some(card) = lab::card(options) else { return };
    let mut lab = Lab::new(card, seed());
    let wanted = cuts_wanted(usual);
    while lab.tally.cuts < wanted {
        if lab.tally.cuts / CUTS_PER_CARD >= lab.tally.cards {
            lab.new_card(mounts[(lab.tally.cards as usize) % mounts.len()]);
            println!("{name}: {} cuts, {} acknowledged writes", lab.tally.cuts, lab.tally.acknowledged);
        }
        // Also the first start of all.
        while lab.chance.percent(30) {
            lab.cut_while_starting();
        }
        match lab.start_and_check().await {
            Ok((server, findings)) if findings == Findings::default() => lab.cut_under_load(server).await,
            Ok((_, findings)) => violated(&lab, &format!("{findings:?}")),
            Err(wrong) => violated(&lab, &wrong),
        }
    }
    match lab.start_and_check().await {
        Ok((_, findings)) if findings == Findings::default() => println!("{name}: {}", lab.tally),
        Ok((_, findings)) => violated(&lab, &format!("{findings:?}")),
        Err(wrong) => violated(&lab, &wrong),
    }
    assert!(lab.tally.acknowledged > lab.tally.cuts, "hardly anything was written: {}", lab.tally);
    // About half of them do; a short run may have few by chance.
    assert!(lab.tally.dirty_cuts() * 6 + 10 > lab.tally.cuts, "cuts find nothing unflushed: {}", lab.tally);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_on_ext4_lose_nothing_acknowledged() {
    let mounts = ["", "data=writeback", "", "commit=1", "data=writeback,commit=1"];
    nothing_acknowledged_is_lost(CardOptions::ext4(), &mounts, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_on_xfs_lose_nothing_acknowledged() {
    nothing_acknowledged_is_lost(CardOptions::xfs(), &["", "logbsize=32k"], 25).await;
}

/// The lab itself: a card whose flush is a lie must be caught, or the lab could not catch anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_lies_is_caught() {
    let Some(card) = lab::card(CardOptions::ext4()) else { return };
    let mut lab = Lab::new(card, seed());
    let mut lost = 0;
    for _ in 0..LIES_CAUGHT_WITHIN {
        let (mut server, _) = lab.start_and_check().await.expect("the card was honest so far");
        lab.card.lie(true);
        let tasks = lab.load.begin(&server.url).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        lab.card.cut(Cut::Drop, 1).expect("the image can be written");
        server.kill();
        assert!(lab.load.end(tasks).await > 0, "nothing was acknowledged");
        lab.card.lie(false);
        lab.card.power_on().expect("what was flushed before is whole");
        let (_, findings) = lab.start_and_check().await.expect("what was flushed before is whole");
        lost += findings.lost;
        if lost > 0 {
            println!("{lost} acknowledged writes are gone, and it was noticed");
            return;
        }
    }
    panic!("{LIES_CAUGHT_WITHIN} cuts of a card that lies lost nothing");
}
