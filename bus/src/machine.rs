//! What the system grants this process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Processor time that a control group grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuQuota {
    /// Microseconds of processor time in each period.
    pub quota_us: u64,
    /// Length of a period in microseconds, never 0.
    pub period_us: u64,
}

impl CpuQuota {
    /// Whole cores that the time fills.
    pub fn whole_cores(self) -> usize {
        usize::try_from(self.quota_us / self.period_us).unwrap_or(usize::MAX)
    }

    /// `cpu.max` of version 2: `MAX PERIOD`, where `max` is no limit.
    fn parse_v2(text: &str) -> Option<Self> {
        let (quota, period) = text.trim().split_once(' ')?;
        Self::new(quota.parse().ok()?, period.parse().ok()?)
    }

    fn new(quota_us: u64, period_us: u64) -> Option<Self> {
        (period_us > 0).then_some(Self { quota_us, period_us })
    }

    fn is_tighter_than(self, other: Self) -> bool {
        u128::from(self.quota_us) * u128::from(other.period_us)
            < u128::from(other.quota_us) * u128::from(self.period_us)
    }
}

/// The tightest limit on processor time of this process's control groups, if any limits it.
pub fn cpu_quota() -> Option<CpuQuota> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    tightest(Path::new("/sys/fs/cgroup"), &groups)
}

fn tightest(root: &Path, groups: &str) -> Option<CpuQuota> {
    group_directories(root, groups).iter().filter_map(|directory| read_quota(directory)).reduce(
        |tightest, quota| {
            if quota.is_tighter_than(tightest) { quota } else { tightest }
        },
    )
}

/// Directories of the groups of the processor controller and of those above them. `groups` is `/proc/self/cgroup`:
/// lines `NUMBER:CONTROLLERS:/PATH`, in version 2 without controllers.
fn group_directories(root: &Path, groups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let hierarchy = match controllers {
            "" => root.to_owned(),
            names if names.split(',').any(|name| name == "cpu") => root.join(names),
            _ => continue,
        };
        let below = hierarchy.join(path.trim_start_matches('/'));
        found.extend(below.ancestors().take_while(|above| above.starts_with(&hierarchy)).map(Path::to_owned));
        if controllers.contains(',') {
            found.push(root.join("cpu"));
        }
    }
    found
}

fn read_quota(directory: &Path) -> Option<CpuQuota> {
    if let Ok(text) = fs::read_to_string(directory.join("cpu.max")) {
        return CpuQuota::parse_v2(&text);
    }
    // Version 1; −1 is no limit and not an unsigned number.
    let number = |name: &str| fs::read_to_string(directory.join(name)).ok()?.trim().parse().ok();
    CpuQuota::new(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

/// The cores on which the disks interrupt, where those are few: a thread that spins on one of them holds up whatever
/// becomes durable, for as long as the system lets it. None where each core has interrupts of its own, as with NVMe, or
/// where the system does not say.
pub fn disk_cores() -> Vec<usize> {
    let interrupts = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    interrupted(Path::new("/sys/block"), &interrupts)
}

/// The cores that take most interrupts of the block devices. `interrupts` is `/proc/interrupts`: a line of cores, then
/// lines `NUMBER: COUNT… NAME`.
fn interrupted(devices: &Path, interrupts: &str) -> Vec<usize> {
    let mut lines = interrupts.lines();
    let header = lines.next().unwrap_or_default().split_whitespace();
    let cores: Vec<usize> = header.filter_map(|name| name.strip_prefix("CPU")?.parse().ok()).collect();
    let counts: BTreeMap<&str, Vec<u64>> = lines
        .filter_map(|line| {
            let (number, counts) = line.split_once(':')?;
            let counts = counts.split_whitespace().take(cores.len()).map_while(|count| count.parse().ok());
            Some((number.trim(), counts.collect()))
        })
        .collect();
    let mut found = BTreeSet::new();
    for device in fs::read_dir(devices).into_iter().flatten().flatten() {
        let mut total = vec![0; cores.len()];
        for number in interrupt_numbers(&device.path()) {
            let counts = counts.get(number.as_str()).into_iter().flatten();
            total.iter_mut().zip(counts).for_each(|(sum, count): (&mut u64, &u64)| *sum += count);
        }
        let all: u64 = total.iter().sum();
        let takes_many = |(core, sum): (&usize, u64)| (sum > 0 && sum >= all / FEW).then_some(*core);
        found.extend(cores.iter().zip(total).filter_map(takes_many));
    }
    if found.len() * 2 > cores.len() { Vec::new() } else { found.into_iter().collect() }
}

/// Whoever takes less than this part of a disk's interrupts is not counted.
const FEW: u64 = 10;

/// The message-signalled interrupts of the bus device that a block device belongs to.
fn interrupt_numbers(device: &Path) -> Vec<String> {
    let Ok(device) = device.canonicalize() else { return Vec::new() };
    let listed = device.ancestors().find_map(|above| fs::read_dir(above.join("msi_irqs")).ok());
    listed.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Nice value of an autogroup that leaves kernel threads their turns.
const STEPPED_BACK: i32 = 10;

/// Where the system groups tasks by session (autogroups, sched(7)), lets this session's group step back behind others, as a
/// nice value of 10 does, unless it has one as high. False where there are no such groups or it may not.
///
/// Beside a pinned spinner an equal share is too much for it: the kernel threads that complete the disk's writes, which
/// are of no session, were seen runnable for seconds without a turn.
pub(crate) fn step_back() -> bool {
    let is_on =
        fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").is_ok_and(|on| on.trim() == "1");
    let group = fs::read_to_string("/proc/self/autogroup").unwrap_or_default();
    let nice = autogroup_nice(&group).filter(|_| is_on);
    nice.is_some_and(|nice| {
        nice < STEPPED_BACK && fs::write("/proc/self/autogroup", STEPPED_BACK.to_string()).is_ok()
    })
}

/// The nice value in `/proc/self/autogroup`: `/autogroup-NUMBER nice VALUE`.
fn autogroup_nice(group: &str) -> Option<i32> {
    group.trim().rsplit_once(" nice ")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn the_tightest_group_above_counts() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "cpu.max", "max 100000\n");
        write(root.path(), "pod/cpu.max", "150000 100000\n");
        write(root.path(), "pod/box/cpu.max", "400000 100000\n");
        let quota = tightest(root.path(), "0::/pod/box\n").unwrap();
        assert_eq!((quota.quota_us, quota.period_us, quota.whole_cores()), (150_000, 100_000, 1));
        assert_eq!(tightest(root.path(), "0::/\n"), None);
    }

    #[test]
    fn version_1_counts_too() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "cpu/box/cpu.cfs_quota_us", "50000\n");
        write(root.path(), "cpu/box/cpu.cfs_period_us", "100000\n");
        write(root.path(), "cpu/cpu.cfs_quota_us", "-1\n");
        write(root.path(), "cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(tightest(root.path(), "4:memory:/x\n1:cpu:/box\n").unwrap().whole_cores(), 0);
        assert_eq!(tightest(root.path(), "1:cpu:/other\n"), None);
    }

    #[test]
    fn nonsense_is_no_limit() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "cpu.max", "100000 0\n");
        for groups in ["", ":", "0::", "0::/../..", "x:y"] {
            assert_eq!(tightest(root.path(), groups), None, "{groups}");
        }
    }

    #[test]
    fn the_nice_value_of_an_autogroup_is_read() {
        assert_eq!(autogroup_nice("/autogroup-393 nice 0\n"), Some(0));
        assert_eq!(autogroup_nice("/autogroup-7 nice -5\n"), Some(-5));
        assert_eq!((autogroup_nice(""), autogroup_nice("/autogroup-7 nice x")), (None, None));
    }

    /// A disk with two interrupts, of which the first is rare.
    fn disk(root: &Path) -> PathBuf {
        let bus = root.join("devices/pci/0000:00:02.0");
        write(&bus, "msi_irqs/35", "msix\n");
        write(&bus, "msi_irqs/36", "msix\n");
        write(&bus, "virtio1/block/vda/size", "1\n");
        fs::create_dir_all(root.join("block")).unwrap();
        std::os::unix::fs::symlink(bus.join("virtio1/block/vda"), root.join("block/vda")).unwrap();
        root.join("block")
    }

    #[test]
    fn a_disk_that_interrupts_one_core_is_found_there() {
        let root = tempfile::tempdir().unwrap();
        let devices = disk(root.path());
        let interrupts = "           CPU0       CPU1\n 35:  1  0  PCI-MSIX 0-edge virtio1-config\n \
                          36:  0  5873581  PCI-MSIX 1-edge virtio1-req.0\n 41:  9999999 0 virtio3-rx\nNMI: 1 2\n";
        assert_eq!(interrupted(&devices, interrupts), [1]);
    }

    #[test]
    fn a_disk_that_interrupts_all_cores_or_none_is_no_reason_to_avoid_any() {
        let root = tempfile::tempdir().unwrap();
        let devices = disk(root.path());
        for interrupts in [
            "CPU0 CPU1\n36: 500 400 virtio1-req.0\n",
            "CPU0 CPU1\n36: 0 0 virtio1-req.0\n",
            "",
            "CPU0\n36: 5 x\n",
        ] {
            assert_eq!(interrupted(&devices, interrupts), [0; 0], "{interrupts}");
        }
        assert_eq!(interrupted(Path::new("/nonexistent"), "CPU0 CPU1\n36: 0 9\n"), [0; 0]);
    }
}
