//! How much memory the control group of this process still has.
//!
//! In a group, pages of shared memory are charged when they are reserved, and the shortage is no error
//! but a kill. Both versions of control groups are read, since containers still run on either.

use std::fs;
use std::path::Path;

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

/// Bytes that the memory groups of this process still have; none where nothing limits it.
pub(super) fn of_this_process() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    within(&groups, Path::new("/sys/fs/cgroup"))
}

/// The least headroom of all groups that `groups`, the text of `/proc/self/cgroup`, names below `root`.
fn within(groups: &str, root: &Path) -> Option<u64> {
    groups.lines().filter_map(|line| of_line(line, root)).min()
}

/// The headroom of one line `hierarchy:controllers:path`: the least of the group's and its ancestors'.
///
/// In a container the path may be one of the host, which is not to be seen there; its own group then
/// is the root of what is mounted.
fn of_line(line: &str, root: &Path) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = match controllers {
        "" => V2,
        _ if controllers.split(',').any(|controller| controller == "memory") => V1,
        _ => return None,
    };
    let root = root.join(version.root);
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().filter_map(|group| of_group(&root.join(group), &version)).min()
}

fn of_group(group: &Path, version: &Version) -> Option<u64> {
    let limit = figure(&group.join(version.limit))?;
    let usage = figure(&group.join(version.usage))?;
    let reclaimable = fs::read_to_string(group.join("memory.stat")).map_or(0, |statistics| {
        let fields = statistics.lines().filter_map(|line| line.split_once(' '));
        let ours = fields.filter(|(name, _)| version.reclaimable.contains(name));
        ours.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).fold(0, u64::saturating_add)
    });
    Some(limit.saturating_sub(usage.saturating_sub(reclaimable)))
}

/// The figure in a file; none for `max`.
fn figure(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(within("0::/a/b\n", root.path()), Some(150));
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
        assert_eq!(within("3:cpu:/x\n4:memory:/x\n0::/\n", root.path()), Some(50));
        assert_eq!(within("4:memory:/of/the/host\n", root.path()), Some(9_223_372_036_854_771_635));
    }

    #[test]
    fn nonsense_is_no_limit() {
        let root = tempfile::tempdir().expect("a directory");
        for text in ["", "\n", "0:", "memory", "4:memory", "0::", "::::"] {
            assert_eq!(within(text, root.path()), None);
        }
    }
}
