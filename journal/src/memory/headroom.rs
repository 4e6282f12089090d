//! How much memory the control group of this process still has.
//!
//! In a group, pages of shared memory are charged when they are reserved, and the shortage is no error
//! but a kill. Both versions of control groups are read, since containers still run on either.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

/// The names that the two versions give to the same figures.
struct Version {
    root: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Fields of `memory.stat`: pages of files, which the kernel drops before it kills.
    reclaimable: [&'static str; 2],
}

const V1: Version = Version {
    root: "memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};

const V2: Version = Version {
    root: "",
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

/// What the limit of a memory group still gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headroom {
    /// The file that holds the limit.
    pub limit_file: PathBuf,
    /// The limit, in bytes.
    pub limit: u64,
    /// What is left of it, in bytes.
    pub left: u64,
}

impl fmt::Display for Headroom {
    /// What is left of which limit, and what helps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit_file, limit, left } = self;
        write!(
            f,
            "{left} bytes are left of the {limit} in {}; raise that (a container: --memory), or lower the key 'memory' of \
             [bus] or the topics' segments",
            limit_file.display()
        )
    }
}

/// Of the memory groups of this process the one that has least left; none where nothing limits it.
pub fn of_this_process() -> Option<Headroom> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    within(&groups, Path::new("/sys/fs/cgroup"))
}

/// The least headroom of all groups that `groups`, the text of `/proc/self/cgroup`, names below `root`.
fn within(groups: &str, root: &Path) -> Option<Headroom> {
    groups.lines().filter_map(|line| of_line(line, root)).min_by_key(|headroom| headroom.left)
}

/// The headroom of one line `hierarchy:controllers:path`: the least of the group's and its ancestors'.
///
/// In a container the path may be one of the host, which is not to be seen there; its own group then
/// is the root of what is mounted.
fn of_line(line: &str, root: &Path) -> Option<Headroom> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = match controllers {
        "" => V2,
        _ if controllers.split(',').any(|controller| controller == "memory") => V1,
        _ => return None,
    };
    let root = root.join(version.root);
    let path = Path::new(path.trim_start_matches('/'));
    let groups = path.ancestors().filter_map(|group| of_group(&root.join(group), &version));
    groups.min_by_key(|headroom| headroom.left)
}

fn of_group(group: &Path, version: &Version) -> Option<Headroom> {
    let limit_file = group.join(version.limit);
    let limit = figure(&limit_file)?;
    let usage = figure(&group.join(version.usage))?;
    let reclaimable = fs::read_to_string(group.join("memory.stat")).map_or(0, |statistics| {
        let fields = statistics.lines().filter_map(|line| line.split_once(' '));
        let ours = fields.filter(|(name, _)| version.reclaimable.contains(name));
        ours.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).fold(0, u64::saturating_add)
    });
    let left = limit.saturating_sub(usage.saturating_sub(reclaimable));
    Some(Headroom { limit_file, limit, left })
}

/// The figure in a file; none for `max`.
fn figure(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenError, memory::MemoryError};

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
    }

    #[test]
    fn version_two_takes_the_tightest_ancestor() {
        let root = tempfile::tempdir().expect("a directory");
        write(
            root.path(),
            &[
                ("a/memory.max", "1000\n"),
                ("a/memory.current", "900\n"),
                ("a/memory.stat", "anon 100\ninactive_file 20\nactive_file 30\nshmem 700\n"),
                ("a/b/memory.max", "max\n"),
                ("a/b/memory.current", "5\n"),
            ],
        );
        let tightest = Headroom { limit_file: root.path().join("a/memory.max"), limit: 1000, left: 150 };
        assert_eq!(within("0::/a/b\n", root.path()), Some(tightest));
        assert_eq!(within("0::/elsewhere\n", root.path()), None);
    }

    #[test]
    fn version_one_reads_its_own_names() {
        let root = tempfile::tempdir().expect("a directory");
        write(
            root.path(),
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712"),
                ("memory/memory.usage_in_bytes", "77"),
                ("memory/x/memory.limit_in_bytes", "500"),
                ("memory/x/memory.usage_in_bytes", "600"),
                ("memory/x/memory.stat", "total_inactive_file 150\n"),
            ],
        );
        let limit_file = root.path().join("memory/x/memory.limit_in_bytes");
        let tightest = Headroom { limit_file, limit: 500, left: 50 };
        assert_eq!(within("3:cpu:/x\n4:memory:/x\n0::/\n", root.path()), Some(tightest));
        let of_root = within("4:memory:/of/the/host\n", root.path()).expect("the root of what is mounted");
        assert_eq!(of_root.left, 9_223_372_036_854_771_635);
    }

    #[test]
    fn what_is_refused_names_the_limit_and_the_remedy() {
        let headroom = Headroom { limit_file: "/group/memory.max".into(), limit: 1000, left: 150 };
        let (path, needed) = (PathBuf::from("/shm/bus"), 200);
        let of_memory =
            MemoryError::Group { path: path.clone(), wanted: needed, headroom: headroom.clone() }.to_string();
        let of_journal = OpenError::NoGroupRoom { headroom, path, needed }.to_string();
        let told = "the memory limit of this control group has no room for 200 bytes of shared memory: /shm/bus; 150 bytes \
                    are left of the 1000 in /group/memory.max; raise that (a container: --memory), or lower";
        assert!(of_memory.starts_with(told) && of_journal.starts_with(told), "{of_memory}");
    }

    #[test]
    fn nonsense_is_no_limit() {
        let root = tempfile::tempdir().expect("a directory");
        for text in ["", "\n", "0:", "memory", "4:memory", "0::", "::::"] {
            assert_eq!(within(text, root.path()), None);
        }
    }
}
