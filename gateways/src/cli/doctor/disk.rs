//! Where `tapedeck up` keeps everything: whether there is room, and whether it is a place for a journal.

use super::{Finding, note, well, wrong};
use crate::cli::Globals;

const CHECK: &str = "disk";
const FREE_BYTES_MIN: u64 = 2 << 30;

/// What is to be said of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Good,
    /// It forgets everything.
    Memory(&'static str),
    /// It ends with the container.
    Layer,
    /// It is somebody else's disk, over a network.
    Network(&'static str),
}

/// The room left in the data folder and what it is on, if it is here.
pub(super) fn examine(globals: &Globals) -> Vec<Finding> {
    let folder = globals.data().display().to_string();
    let Ok(stat) = rustix::fs::statvfs(globals.data()) else { return Vec::new() };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let words = format!("{:.1} GiB free in {folder}", free as f64 / f64::from(1 << 30));
    let room = match free >= FREE_BYTES_MIN {
        true => well(CHECK, words),
        false => wrong(CHECK, words, "make room: PostgreSQL and NATS stop when the disk is full"),
    };
    let mut findings = vec![room];
    #[cfg(target_os = "linux")]
    if let Ok(stat) = rustix::fs::statfs(globals.data()) {
        findings.push(said(place(stat.f_type as u32), &folder));
    }
    findings
}

fn said(place: Place, folder: &str) -> Finding {
    let mend = "stop it, move the folder to a local disk (ext4, XFS, …) and name it with --data";
    match place {
        Place::Good => well(CHECK, format!("{folder} is on a local disk")),
        Place::Memory(name) => note(
            CHECK,
            format!("{folder} is on {name}: a restart of this machine forgets it"),
            mend,
        ),
        Place::Layer => {
            let words = format!("{folder} is in a layer of a container, and ends with it");
            note(CHECK, words, "mount a volume there")
        }
        Place::Network(name) => {
            let words = format!(
                "{folder} is on {name}: what is synced and locked there is not as a journal needs it"
            );
            wrong(CHECK, words, mend)
        }
    }
}

/// By the number that Linux has for each kind of file system (`man 2 statfs`).
fn place(kind: u32) -> Place {
    match kind {
        0x0102_1994 => Place::Memory("tmpfs"),
        0x8584_58f6 => Place::Memory("ramfs"),
        0x794c_7630 => Place::Layer,
        0x0000_6969 => Place::Network("NFS"),
        0x0000_517b | 0xfe53_4d42 | 0xff53_4d42 => Place::Network("SMB"),
        0x0102_1997 => Place::Network("9P"),
        0x00c3_6400 => Place::Network("Ceph"),
        0x5346_414f | 0x6b41_4653 => Place::Network("AFS"),
        0x0bd0_0bd0 => Place::Network("Lustre"),
        0x786f_4256 => Place::Network("a folder of VirtualBox's host"),
        0x6573_5546 => Place::Network("FUSE (sshfs, a cloud folder, …)"),
        _ => Place::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_journal_is_kept_on_a_disk_of_this_machine() {
        let of = |kind| said(place(kind), "data");
        // ext4, XFS and Btrfs.
        for kind in [0xef53, 0x5846_5342, 0x9123_683e] {
            assert_eq!(of(kind).state, State::Well);
        }
        let nfs = of(0x6969);
        assert!(nfs.state == State::Wrong && nfs.lines().contains("NFS") && nfs.mend.is_some());
        assert_eq!(of(0xff53_4d42).state, State::Wrong);
        let memory = of(0x0102_1994);
        assert!(memory.state == State::Note && memory.words.contains("forgets it"));
        assert_eq!(of(0x794c_7630).state, State::Note);
    }
}
