//! What else may lie on a partition, by the marks it is known by: for the person who is told that it is not empty.

/// Where a mark lies, the mark, and what has it.
const MARKS: [(usize, &[u8], &str); 12] = [
    (1080, &[0x53, 0xef], "an ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (65600, b"_BHRfS_M", "a Btrfs file system"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "an F2FS file system"),
    (82, b"FAT32", "a FAT file system"),
    (54, b"FAT1", "a FAT file system"),
    (3, b"NTFS", "an NTFS file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (0, b"LUKS", "an encrypted volume"),
    (536, b"LVM2", "a volume of LVM"),
    (512, b"EFI PART", "a partition table"),
    (510, &[0x55, 0xaa], "a partition table, or a boot record"),
];

/// What a device that begins so holds, if it is known.
pub(super) fn named(head: &[u8]) -> Option<&'static str> {
    let has = |(at, mark, _): &&(usize, &[u8], &str)| head.get(*at..at + mark.len()) == Some(mark);
    MARKS.iter().find(has).map(|(_, _, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_keep_on_partitions_is_called_by_its_name() {
        let mut head = vec![0; 1 << 20];
        head[1080..1082].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(named(&head), Some("an ext4 file system"));
        head[0..4].copy_from_slice(b"XFSB");
        head[1080] = 0;
        assert_eq!(named(&head), Some("an XFS file system"));
        assert_eq!(named(&[1; 100]), None);
    }
}
