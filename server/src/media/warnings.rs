//! What about the device or its mount costs more than it needs to, or is not safe: said once at each start.
//!
//! `data=writeback` is not among it: what may be old after a power cut then are blocks of files that nobody
//! has synced, and everything here is synced before it is relied on. It gains nothing either.
use super::mounts::Mount;
use super::{BlockDevice, Media};

/// One line each: what, why, and what to do.
pub fn warnings(media: Media, device: Option<&BlockDevice>, mount: Option<&Mount>) -> Vec<String> {
    let barriers = mount.and_then(|mount| without_barriers(mount, device));
    let journal = mount.and_then(journaled_data);
    let partition = device.and_then(|device| misaligned(media, device));
    [barriers, journal, partition].into_iter().flatten().collect()
}

fn without_barriers(mount: &Mount, device: Option<&BlockDevice>) -> Option<String> {
    // Without a cache in the device there is nothing to flush, and the option does nothing.
    if device.is_some_and(|device| !device.cached) {
        return None;
    }
    let Mount { point, file_system, .. } = mount;
    mount.without_barriers().map(|option| {
        let on = mount_option(option, "barrier=1");
        format!(
            "{point} ({file_system}) is mounted with {option}: flushes do not reach the device, and a power cut \
             can take writes that were acknowledged; run `mount -o remount,{on} {point}`, and change it in /etc/fstab"
        )
    })
}

/// The option that undoes `option`.
fn mount_option<'a>(option: &str, otherwise: &'a str) -> &'a str {
    match option {
        "nobarrier" => "barrier",
        "fsync_mode=nobarrier" => "fsync_mode=posix",
        _ => otherwise,
    }
}

fn journaled_data(mount: &Mount) -> Option<String> {
    let Mount { point, file_system, .. } = mount;
    mount.journals_data().map(|option| {
        format!(
            "{point} ({file_system}) is mounted with {option}: every byte is written twice, and none of them \
             directly; take {option} out of /etc/fstab (or run `tune2fs -o ^journal_data DEVICE`) and restart the \
             machine"
        )
    })
}

fn misaligned(media: Media, device: &BlockDevice) -> Option<String> {
    let (partition, start) = device.partition.as_ref()?;
    let unit = media.settings().partition_align;
    if start.is_multiple_of(unit) {
        return None;
    }
    let (name, kind, kib) = (&device.name, media.word(), unit >> 10);
    Some(format!(
        "partition {partition} begins at byte {start}, which is no multiple of {kib} KiB: on this device ({kind}) \
         frames of the log then lie across the bounds of what it erases or programs at once, and are written up to \
         five times inside; make the partition anew with `parted /dev/{name} unit KiB mkpart`, from a multiple of \
         {kib} KiB on, and restore a backup"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::device::{Hint, tests::hinting};
    use super::*;

    fn mounted(options: &str) -> Mount {
        let line = format!("27 1 179:2 / /data rw - ext4 /dev/root {options}");
        Mount::find(&line, (179, 2)).expect("it is there")
    }

    fn on(start: u64, cached: bool) -> BlockDevice {
        BlockDevice { partition: Some(("mmcblk0p2".into(), start)), cached, ..hinting(Hint::Sd) }
    }

    #[test]
    fn a_sound_device_is_not_warned_of() {
        let said = warnings(Media::SdBasic, Some(&on(64 << 20, true)), Some(&mounted("rw,noatime")));
        assert_eq!(said, Vec::<String>::new());
        assert_eq!(warnings(Media::SdBasic, None, None), Vec::<String>::new());
    }

    #[test]
    fn a_partition_is_measured_by_what_its_device_erases_at_once() {
        for media in [Media::SdBasic, Media::SdA1, Media::Emmc] {
            let said = warnings(media, Some(&on(1 << 20, false)), None);
            assert_eq!(said.len(), 1, "{media:?}: {said:?}");
            assert!(
                said[0].contains("mmcblk0p2 begins at byte 1048576") && said[0].contains("4096 KiB"),
                "{said:?}"
            );
            assert!(said[0].contains("parted /dev/mmcblk0"), "{said:?}");
        }
        assert!(warnings(Media::Ssd, Some(&on(1 << 20, false)), None).is_empty());
        assert_eq!(warnings(Media::Ssd, Some(&on(63 * 512, false)), None).len(), 1);
    }

    #[test]
    fn barriers_are_missed_where_there_is_a_cache_or_nobody_knows() {
        let cases = [("rw,nobarrier", "remount,barrier "), ("rw,barrier=0", "remount,barrier=1 ")];
        for (options, advice) in cases {
            let mount = mounted(options);
            for device in [None, Some(on(4 << 20, true))] {
                let said = warnings(Media::SdA1, device.as_ref(), Some(&mount));
                assert!(
                    said.len() == 1 && said[0].contains(advice) && said[0].contains("power cut"),
                    "{said:?}"
                );
            }
            assert!(warnings(Media::SdA1, Some(&on(4 << 20, false)), Some(&mount)).is_empty());
        }
    }

    #[test]
    fn data_in_the_journal_is_warned_of_and_writeback_is_not() {
        let said = warnings(Media::Ssd, None, Some(&mounted("rw,data=journal")));
        assert!(said.len() == 1 && said[0].contains("twice"), "{said:?}");
        assert!(warnings(Media::Ssd, None, Some(&mounted("rw,data=writeback"))).is_empty());
    }
}
