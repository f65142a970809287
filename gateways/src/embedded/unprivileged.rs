//! The user that PostgreSQL runs as when tapedeck itself is started by root, which PostgreSQL
//! refuses to be run by, and that user's way to the data folder.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

/// An unprivileged user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// Whom PostgreSQL has to run as: nobody else, unless we are root.
    pub fn for_postgres() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("cannot read the users")?;
        let user = find(&users, "postgres").or_else(|| find(&users, "nobody"));
        user.map(Some).context("PostgreSQL cannot run as root, and there is no other user for it")
    }

    pub fn own(&self, path: &Path) -> anyhow::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot give {} to {}", path.display(), self.name))
    }

    /// Makes sure that this user can reach `folder`, granting it passage (and nothing else)
    /// through the folders above that are closed to it.
    pub async fn reach(&self, folder: &Path) -> anyhow::Result<()> {
        if self.can_enter(folder).await? {
            return Ok(());
        }
        for ancestor in folder.ancestors() {
            let metadata = std::fs::metadata(ancestor)
                .with_context(|| format!("cannot look at {}", ancestor.display()))?;
            if metadata.mode() & 0o001 != 0 || metadata.uid() == self.uid {
                continue;
            }
            tracing::warn!(folder = %ancestor.display(), user = self.name, "granting passage");
            if grant_passage(ancestor, self.uid, metadata.mode()).is_err() {
                let opened = PermissionsExt::from_mode(metadata.mode() | 0o001);
                std::fs::set_permissions(ancestor, opened)
                    .with_context(|| format!("cannot open a way through {}", ancestor.display()))?;
            }
        }
        if !self.can_enter(folder).await? {
            bail!(
                "PostgreSQL cannot run as root, and the user {} cannot reach {}: choose another \
                 folder with --data",
                self.name,
                folder.display(),
            );
        }
        Ok(())
    }

    /// Asks the kernel rather than reading permissions, which have more sources than the mode.
    async fn can_enter(&self, folder: &Path) -> anyhow::Result<bool> {
        let entered = Command::new("/bin/sh")
            .args(["-c", ":"])
            .current_dir(folder)
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null())
            .status()
            .await;
        match entered {
            Ok(status) => Ok(status.success()),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot act as {}", self.name)),
        }
    }
}

fn find(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (found && uid != 0).then(|| User { name: name.to_owned(), uid, gid })
    })
}

/// Adds `user:<uid>:--x` to the folder's access control list, so that the way is opened for one
/// user and not for everybody.
#[cfg(target_os = "linux")]
fn grant_passage(folder: &Path, uid: u32, mode: u32) -> std::io::Result<()> {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    const ATTRIBUTE: &str = "system.posix_acl_access";

    let mut stored = vec![0_u8; 4096];
    let list = match getxattr(folder, ATTRIBUTE, &mut stored[..]) {
        Ok(length) => AccessList::decode(&stored[..length]),
        Err(rustix::io::Errno::NODATA) => Some(AccessList::from_mode(mode)),
        Err(error) => return Err(error.into()),
    };
    let mut list = list.ok_or(std::io::ErrorKind::InvalidData)?;
    list.let_pass(uid);
    setxattr(folder, ATTRIBUTE, &list.encode(), XattrFlags::empty())?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn grant_passage(_folder: &Path, _uid: u32, _mode: u32) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// A POSIX access control list as Linux stores it: version 2, then entries of (tag, permissions,
/// id) in little endian, sorted.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq, Eq)]
struct AccessList(std::collections::BTreeMap<(u16, u32), u16>);

#[cfg(target_os = "linux")]
impl AccessList {
    const OWNER: u16 = 0x01;
    const NAMED_USER: u16 = 0x02;
    const GROUP: u16 = 0x04;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;
    const NO_ID: u32 = u32::MAX;
    const PASS: u16 = 0o1;

    fn from_mode(mode: u32) -> Self {
        let bits = |shift: u32| ((mode >> shift) & 0o7) as u16;
        let entries = [(Self::OWNER, bits(6)), (Self::GROUP, bits(3)), (Self::OTHER, bits(0))];
        Self(entries.map(|(tag, permissions)| ((tag, Self::NO_ID), permissions)).into())
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let entries = stored.strip_prefix(&2_u32.to_le_bytes())?;
        let decoded = entries.chunks_exact(8).map(|entry| {
            let tag = u16::from_le_bytes([entry[0], entry[1]]);
            let permissions = u16::from_le_bytes([entry[2], entry[3]]);
            ((tag, u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]])), permissions)
        });
        Some(Self(decoded.collect()))
    }

    /// The mask bounds what named users may do; without one it starts as the group's permissions.
    fn let_pass(&mut self, uid: u32) {
        *self.0.entry((Self::NAMED_USER, uid)).or_default() |= Self::PASS;
        let group = self.0.get(&(Self::GROUP, Self::NO_ID)).copied().unwrap_or_default();
        *self.0.entry((Self::MASK, Self::NO_ID)).or_insert(group) |= Self::PASS;
    }

    fn encode(&self) -> Vec<u8> {
        let mut stored = 2_u32.to_le_bytes().to_vec();
        for ((tag, id), permissions) in &self.0 {
            stored.extend(tag.to_le_bytes());
            stored.extend(permissions.to_le_bytes());
            stored.extend(id.to_le_bytes());
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_name_and_never_root() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104::/var/lib:/bin/sh\nbad\n";
        let postgres = User { name: "postgres".to_owned(), uid: 101, gid: 104 };
        assert_eq!(find(users, "postgres"), Some(postgres));
        assert_eq!(find(users, "root"), None);
        assert_eq!(find(users, "nobody"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn passage_is_added_to_an_access_list_and_nothing_is_taken_away() {
        let mut list = AccessList::from_mode(0o750);
        list.let_pass(101);
        let again = AccessList::decode(&list.encode()).expect("our own list");
        assert_eq!(again, list);
        let get = |tag, id| list.0.get(&(tag, id)).copied();
        assert_eq!(get(AccessList::NAMED_USER, 101), Some(1));
        assert_eq!(get(AccessList::OWNER, AccessList::NO_ID), Some(7));
        assert_eq!(get(AccessList::GROUP, AccessList::NO_ID), Some(5));
        assert_eq!(get(AccessList::MASK, AccessList::NO_ID), Some(5));
        assert_eq!(get(AccessList::OTHER, AccessList::NO_ID), Some(0));
    }
}
