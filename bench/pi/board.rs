//! Which machine this is, and whether its figures are a board's, an emulation's or a model's.
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::place::Place;

/// What there is to know, by name.
pub type Facts = BTreeMap<String, String>;

/// What a figure is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A machine with its disk.
    Board(String),
    /// Something is done by a program that is a part of it in earnest: times mean nothing.
    Emulation(String),
    /// The disk makes requests wait as a model says.
    Model(String),
}

impl Kind {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Board(_) => "board",
            Kind::Emulation(_) => "emulation",
            Kind::Model(_) => "model",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Kind::Board(which) | Kind::Emulation(which) | Kind::Model(which)) = self;
        write!(f, "{}: {which}", self.word())
    }
}

/// The text of a small file without the space around it; none when it is empty or not there.
pub fn word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0').replace(['\n', '\0'], " ");
    (!text.is_empty()).then_some(text)
}

fn at(path: &str) -> Option<String> {
    word(Path::new(path))
}

/// What the machine says of itself.
pub struct Board {
    /// Its name.
    pub model: String,
    /// The rest.
    pub facts: Facts,
    cpuinfo: String,
}

impl Board {
    /// Looks at this machine.
    pub fn find() -> Board {
        let model = at("/proc/device-tree/model").or_else(|| at("/sys/class/dmi/id/product_name"));
        let model = model.unwrap_or_else(|| "a machine without a name".to_owned());
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = ["osrelease", "version", "arch"].map(|name| at(&format!("/proc/sys/kernel/{name}")));
        let kernel = kernel.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let pages = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let clock = "/sys/devices/system/cpu/cpu0/cpufreq";
        let facts = [
            ("model", Some(model.clone())),
            ("compatible", at("/proc/device-tree/compatible")),
            ("revision", line_of(&cpuinfo, "Revision")),
            ("kernel", Some(kernel)),
            ("program is for", Some(std::env::consts::ARCH.to_owned())),
            ("system", line_of(&fs::read_to_string("/etc/os-release").unwrap_or_default(), "PRETTY_NAME")),
            ("page size", line_of(&pages, "KernelPageSize")),
            ("processors", std::thread::available_parallelism().ok().map(|count| count.to_string())),
            ("processor", line_of(&cpuinfo, "model name").or_else(|| line_of(&cpuinfo, "CPU part"))),
            ("memory", line_of(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal")),
            ("governor", at(&format!("{clock}/scaling_governor"))),
            ("clock at most, kHz", at(&format!("{clock}/scaling_max_freq"))),
        ];
        let facts = facts.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), fact?))).collect();
        Board { model, facts, cpuinfo }
    }

    /// What figures from here are of. `through` runs our programs.
    pub fn kind(&self, place: &Place, through: &[String]) -> Kind {
        if let Some(emulator) = through.first() {
            return Kind::Emulation(format!("our programs are run by {emulator}"));
        }
        let file = place.facts.get("file behind it").map_or("", String::as_str);
        let hypervisor = at("/sys/hypervisor/type").or_else(|| at("/sys/class/dmi/id/sys_vendor"));
        let card = place.facts.get("card name").map_or("", String::as_str);
        let seen = Seen { model: &self.model, cpuinfo: &self.cpuinfo, hypervisor, card, file };
        seen.kind(std::env::consts::ARCH)
    }
}

/// The value behind the name at the beginning of a line.
fn line_of(text: &str, name: &str) -> Option<String> {
    let rest =
        text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix([':', '=']))?;
    Some(rest.trim().trim_matches('"').to_owned())
}

/// What gives an emulation away.
struct Seen<'a> {
    model: &'a str,
    cpuinfo: &'a str,
    hypervisor: Option<String>,
    card: &'a str,
    /// Behind a loop device.
    file: &'a str,
}

impl Seen<'_> {
    fn kind(&self, built_for: &str) -> Kind {
        let arm = built_for == "aarch64" || built_for == "arm";
        let vendor = self.hypervisor.as_deref().unwrap_or("");
        let emulation = |why: &str| Kind::Emulation(why.to_owned());
        // A processor's emulator for single programs shows them the processors of the machine below.
        if arm && !self.cpuinfo.contains("CPU implementer") {
            return emulation("the processor is not the one that this program is for");
        }
        if self.file.contains("/cardsim-") {
            return Kind::Model("the card is cardsim's".to_owned());
        }
        let virtual_vendors = ["QEMU", "xen", "VMware", "innotek", "Amazon", "Google"];
        if self.card.starts_with("QEMU") || virtual_vendors.iter().any(|name| vendor.contains(name)) {
            return emulation("the machine is virtual");
        }
        let flags = line_of(self.cpuinfo, "flags").unwrap_or_default();
        if self.model.contains("dummy-virt") || flags.split(' ').any(|flag| flag == "hypervisor") {
            return emulation("the machine is virtual");
        }
        if !self.file.is_empty() {
            return emulation("the disk is a file behind a loop device");
        }
        Kind::Board(self.model.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM: &str = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\nRevision\t: c03114\n";
    const PI: Seen<'_> = Seen {
        model: "Raspberry Pi 4 Model B Rev 1.4",
        cpuinfo: ARM,
        hypervisor: None,
        card: "SD64G",
        file: "",
    };

    #[test]
    fn only_a_board_is_called_one() {
        assert_eq!(PI.kind("aarch64").to_string(), "board: Raspberry Pi 4 Model B Rev 1.4");
        let pc = "model name : x\nflags : fpu sse2\n";
        let below = Seen { cpuinfo: pc, ..PI };
        assert_eq!(below.kind("aarch64").word(), "emulation");
        assert_eq!(below.kind("x86_64").word(), "board");
        let guest = Seen { cpuinfo: "flags : fpu hypervisor sse2\n", ..PI };
        assert_eq!(guest.kind("x86_64").word(), "emulation");
        assert_eq!(Seen { card: "QEMU!", ..PI }.kind("aarch64").word(), "emulation");
        assert_eq!(Seen { model: "linux,dummy-virt", ..PI }.kind("aarch64").word(), "emulation");
        assert_eq!(Seen { hypervisor: Some("QEMU".into()), ..PI }.kind("aarch64").word(), "emulation");
        let card = "/tmp/cardsim-7-x/fuse/card";
        assert_eq!(Seen { file: card, ..PI }.kind("aarch64").word(), "model");
        assert_eq!(Seen { file: card, ..guest }.kind("x86_64").word(), "model");
        assert_eq!(Seen { file: "/var/tmp/image", ..PI }.kind("aarch64").word(), "emulation");
    }

    #[test]
    fn lines_of_the_kernels_files_are_read() {
        assert_eq!(line_of(ARM, "Revision").as_deref(), Some("c03114"));
        assert_eq!(line_of("PRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME").as_deref(), Some("Debian 12"));
        assert_eq!(line_of(ARM, "Serial"), None);
    }
}
