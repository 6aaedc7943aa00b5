//! How the file system under a folder is mounted, read from `/proc/self/mountinfo`.
//!
//! ```text
//! 27 1 179:2 / / rw,relatime shared:1 - ext4 /dev/root rw,barrier=0
//!      number                           kind source    its own options
//! ```

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where; of several places the first.
    pub point: String,
    /// Its kind, such as `ext4`.
    pub file_system: String,
    /// The file system's own options.
    options: Vec<String>,
}

impl Mount {
    /// The file system with this device number, by the text of `mountinfo`.
    pub fn find(mountinfo: &str, (major, minor): (u32, u32)) -> Option<Mount> {
        let number = format!("{major}:{minor}");
        mountinfo.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let place: Vec<&str> = place.split(' ').collect();
            let mut kind = kind.split(' ');
            let file_system = kind.next()?.to_owned();
            let options = kind.nth(1)?.split(',').map(str::to_owned).collect();
            let [_, _, device, _, point, ..] = place[..] else { return None };
            (device == number).then(|| Mount { point: point.to_owned(), file_system, options })
        })
    }

    /// The option by which a flush does not reach the device, if there is one.
    pub fn without_barriers(&self) -> Option<&str> {
        self.option(&["nobarrier", "barrier=0", "barrier=off", "barrier=none", "fsync_mode=nobarrier"])
    }

    /// The option by which data goes through the journal, if there is one.
    pub fn journals_data(&self) -> Option<&str> {
        self.option(&["data=journal"])
    }

    fn option(&self, words: &[&str]) -> Option<&str> {
        self.options.iter().map(String::as_str).find(|option| words.contains(option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 179:2 / / rw,relatime - ext4 /dev/root rw,nobarrier,data=journal
28 27 179:3 / /var/lib/with\\040space rw,noatime shared:1 master:2 - ext4 /dev/mmcblk0p3 rw,commit=30
29 27 179:4 / /boot rw,barrier=0 - vfat /dev/mmcblk0p1 rw
30 27 179:2 /bind /elsewhere rw - ext4 /dev/root rw,nobarrier,data=journal
broken line
";

    #[test]
    fn a_mount_is_found_by_its_number_and_its_file_systems_options_count() {
        let root = Mount::find(MOUNTINFO, (179, 2)).expect("mounted");
        assert_eq!((root.point.as_str(), root.file_system.as_str()), ("/", "ext4"));
        assert_eq!(
            (root.without_barriers(), root.journals_data()),
            (Some("nobarrier"), Some("data=journal"))
        );
        let data = Mount::find(MOUNTINFO, (179, 3)).expect("mounted");
        assert_eq!((data.without_barriers(), data.journals_data()), (None, None));
        let boot = Mount::find(MOUNTINFO, (179, 4)).expect("mounted");
        assert_eq!(boot.without_barriers(), None, "an option of the place, not of the file system");
        assert_eq!(Mount::find(MOUNTINFO, (8, 1)), None);
    }
}
