//! Whether the processors' clock was held back: for heat, or for want of power.
//!
//! A Raspberry Pi's firmware has bits for it, now and since it was booted; other machines' kernels count. Bits
//! that were set before the work began do not disturb it; those that come up while it goes on do. (Reading the
//! kernel's file clears the firmware's memory, `vcgencmd` does not: only a bit that was not there at the look
//! before is new, either way.)
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::board::word;

/// Where kernels of the Raspberry Pi have the firmware's bits.
const FIRMWARE: [&str; 2] = [
    "/sys/devices/platform/soc/soc:firmware/get_throttled",
    "/sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
];
const VCGENCMD: [&str; 2] = ["/usr/bin/vcgencmd", "/opt/vc/bin/vcgencmd"];

/// The firmware's bits of this moment; those since boot are 16 higher.
const BITS: [(u32, &str); 4] = [
    (1 << 0, "the voltage was too low"),
    (1 << 1, "the clock was capped"),
    (1 << 2, "the processors were throttled"),
    (1 << 3, "the soft limit of the temperature was reached"),
];
const SINCE_BOOT: u32 = 16;

/// What tells.
pub struct Clock {
    firmware: Option<Firmware>,
    /// What the kernel slows processors down with, and how far it does.
    cooling: Vec<PathBuf>,
    /// How often a processor slowed itself down.
    counts: Vec<PathBuf>,
    temperatures: Vec<PathBuf>,
}

enum Firmware {
    File(PathBuf),
    Command(PathBuf),
}

/// What holds the clock back at a moment, and did before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    firmware: u32,
    cooling: u64,
    counts: u64,
}

/// How warm it is, and how fast the clock goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The hottest place.
    pub celsius: Option<f64>,
    /// The first processor's clock.
    pub mhz: Option<f64>,
}

impl Clock {
    /// Finds what this machine has.
    pub fn find() -> Clock {
        let file = FIRMWARE.iter().map(PathBuf::from).find(|path| path.exists()).map(Firmware::File);
        let command = || VCGENCMD.iter().map(PathBuf::from).find(|path| path.exists()).map(Firmware::Command);
        let cools_processors =
            |folder: &PathBuf| word(&folder.join("type")).is_some_and(|kind| kind.contains("cpu"));
        let cooling = entries("/sys/class/thermal", "cooling_device").into_iter().filter(cools_processors);
        let cpus = entries("/sys/devices/system/cpu", "cpu").into_iter();
        let counts = cpus.map(|cpu| cpu.join("thermal_throttle/core_throttle_count"));
        let zones = entries("/sys/class/thermal", "thermal_zone").into_iter();
        Clock {
            firmware: file.or_else(command),
            cooling: cooling.map(|folder| folder.join("cur_state")).collect(),
            counts: counts.filter(|path| path.exists()).collect(),
            temperatures: zones.map(|zone| zone.join("temp")).collect(),
        }
    }

    /// Whether anything here tells of a clock that is held back.
    pub fn tells(&self) -> bool {
        self.firmware.is_some() || !self.cooling.is_empty() || !self.counts.is_empty()
    }

    /// What tells, and what it says now.
    pub fn told(&self) -> String {
        let look = self.look();
        let firmware = self.firmware.as_ref().map(|firmware| format!("{firmware} {:#x}", look.firmware));
        let cooling = (!self.cooling.is_empty()).then(|| format!("cooling {}", look.cooling));
        let counts = (!self.counts.is_empty()).then(|| format!("slowed down {} times", look.counts));
        let told: Vec<String> = firmware.into_iter().chain(cooling).chain(counts).collect();
        if told.is_empty() { "nothing tells".to_owned() } else { told.join(", ") }
    }

    /// How it goes.
    pub fn pace(&self) -> Pace {
        let millidegrees = self.temperatures.iter().filter_map(|path| number(path)).max();
        let khz = number(Path::new("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"));
        let thousandth = |value: Option<u64>| value.map(|value| value as f64 / 1e3);
        Pace { celsius: thousandth(millidegrees), mhz: thousandth(khz) }
    }

    /// Looks.
    pub fn look(&self) -> Look {
        Look {
            firmware: self.firmware.as_ref().and_then(Firmware::bits).unwrap_or(0),
            cooling: self.cooling.iter().filter_map(|path| number(path)).sum(),
            counts: self.counts.iter().filter_map(|path| number(path)).sum(),
        }
    }
}

impl Look {
    /// What held the clock back between a look and a later one.
    pub fn held_back(&self, later: &Look) -> Vec<&'static str> {
        let news = later.firmware & !self.firmware;
        let firmware = BITS.iter().filter_map(|(bit, what)| {
            let (now, since_the_look) = (later.firmware & bit != 0, news & (bit << SINCE_BOOT) != 0);
            (now || since_the_look).then_some(*what)
        });
        let kernel = (later.cooling > 0).then_some("the kernel slowed the processors down, for heat");
        let own = (later.counts > self.counts).then_some("a processor slowed itself down, for heat");
        firmware.chain(kernel).chain(own).collect()
    }
}

impl Firmware {
    fn bits(&self) -> Option<u32> {
        match self {
            Firmware::File(path) => parse(&fs::read_to_string(path).ok()?),
            Firmware::Command(program) => {
                let said = Command::new(program).arg("get_throttled").output().ok()?.stdout;
                parse(&String::from_utf8_lossy(&said))
            }
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Firmware::File(path) | Firmware::Command(path)) = self;
        write!(f, "{}", path.display())
    }
}

/// `throttled=0x50005`, or the number alone, which is hexadecimal then, too.
fn parse(text: &str) -> Option<u32> {
    let text = text.trim();
    let number = text.strip_prefix("throttled=").unwrap_or(text);
    u32::from_str_radix(number.strip_prefix("0x").unwrap_or(number), 16).ok()
}

fn number(path: &Path) -> Option<u64> {
    word(path)?.parse().ok()
}

/// Folders in `folder` whose name is `name` and a number.
fn entries(folder: &str, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let rest = path.file_name().and_then(|file| file.to_str()?.strip_prefix(name));
        rest.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
    };
    entries.map(|entry| entry.path()).filter(is_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmwares_words_are_read() {
        assert_eq!(parse("throttled=0x50005\n"), Some(0x50005));
        assert_eq!(parse("50000\n"), Some(0x50000));
        assert_eq!(parse("error"), None);
    }

    #[test]
    fn files_of_the_kernel_are_looked_at() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).expect("a file");
            dir.path().join(name)
        };
        let clock = Clock {
            firmware: Some(Firmware::File(file("get_throttled", "50000\n"))),
            cooling: vec![file("cur_state", "0\n")],
            counts: vec![file("count0", "3\n"), file("count1", "4\n")],
            temperatures: vec![file("zone0", "41000\n"), file("zone1", "62500\n")],
        };
        let told = clock.told();
        assert!(told.ends_with("get_throttled 0x50000, cooling 0, slowed down 7 times"), "{told}");
        assert_eq!(clock.pace().celsius, Some(62.5));
        let before = clock.look();
        file("get_throttled", "50004\n");
        file("count1", "5\n");
        let what = ["the processors were throttled", "a processor slowed itself down, for heat"];
        assert_eq!(before.held_back(&clock.look()), what);
    }

    #[test]
    fn only_what_is_new_or_goes_on_held_the_clock_back() {
        let look = |firmware| Look { firmware, ..Look::default() };
        assert!(look(0).held_back(&look(0)).is_empty());
        // Of an earlier day.
        assert!(look(0x50000).held_back(&look(0x50000)).is_empty());
        // Between two looks, and over again.
        assert_eq!(look(0).held_back(&look(0x10000)), ["the voltage was too low"]);
        assert_eq!(look(0x10000).held_back(&look(0x50000)), ["the processors were throttled"]);
        // It was there before, and still is.
        assert_eq!(look(0x20002).held_back(&look(0x20002)), ["the clock was capped"]);
        let hot = Look { cooling: 1, counts: 3, ..Look::default() };
        assert_eq!(Look::default().held_back(&hot).len(), 2);
        assert_eq!(hot.held_back(&Look { cooling: 0, ..hot }).len(), 0);
    }
}
