//! Cores, their clocks and who else uses them.

use super::{Finding, System};
use bus::machine::CpuQuota;

/// Below this, hot roles share cores.
const ENOUGH_CORES: usize = 4;
/// Share of time that the host may take away, in a thousand.
const TOLERATED_STEAL: u64 = 10;

/// Cores of this process.
pub(super) fn cores(count: usize) -> Finding {
    let finding = format!("{count} for this process");
    if count >= ENOUGH_CORES {
        return Finding::ok(finding);
    }
    Finding::warn(
        finding + "; where hot threads share them, they do not spin",
        format!("give it {ENOUGH_CORES} or more: one for each hot thread and one for the rest"),
    )
}

/// Cores on which the kernel runs nothing of its own accord.
pub(super) fn isolation(system: &System) -> Finding {
    match system.text("sys/devices/system/cpu/isolated") {
        Some(cores) if !cores.is_empty() => Finding::ok(format!(
            "cores {cores} are isolated; start the program with 'taskset' to let it use them"
        )),
        _ => Finding::warn(
            "no core is isolated: other work may interrupt hot threads",
            "boot with isolcpus=, nohz_full= and rcu_nocbs= for the hot threads' cores and start with 'taskset'",
        ),
    }
}

/// Processor time that a control group grants.
pub(super) fn quota(quota: Option<CpuQuota>) -> Finding {
    let Some(quota) = quota else { return Finding::ok("no limit on processor time by a control group") };
    Finding::warn(
        format!(
            "{} of each {} µs: whoever spins is stopped for the rest of a period",
            quota.quota_us, quota.period_us
        ),
        "lift the limit (cpu.max, --cpus) and give whole cores instead (cpuset, --cpuset-cpus)",
    )
}

/// Time that a host took away since the start of the machine.
pub(super) fn steal(system: &System) -> Finding {
    let text = system.text("proc/stat").unwrap_or_default();
    // The first line: cpu user nice system idle iowait irq softirq steal …, in ticks.
    let ticks: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .flat_map(str::parse)
        .collect();
    let all = ticks.iter().fold(0_u64, |sum, ticks| sum.saturating_add(*ticks));
    let stolen = ticks.get(7).copied().unwrap_or(0).saturating_mul(1000) / all.max(1);
    let finding = format!("the host took {}.{} % of the time", stolen / 10, stolen % 10);
    if stolen < TOLERATED_STEAL {
        return Finding::ok(finding);
    }
    Finding::warn(
        finding + "; stalls of milliseconds, often each 100 ms, are its quota",
        "use a machine with cores of its own; spin on fewer of them",
    )
}

/// The governors of the cores' frequencies.
pub(super) fn governor(system: &System) -> Finding {
    let cores =
        (0..).map(|core| system.text(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor")));
    let mut governors: Vec<String> = cores.map_while(|governor| governor).collect();
    governors.sort();
    governors.dedup();
    match governors.as_slice() {
        [] => Finding::ok("the machine shows none, as virtual machines do"),
        [one] if one == "performance" => Finding::ok("performance"),
        some => Finding::warn(
            format!("{}: cores slow down between messages", some.join(", ")),
            "cpupower frequency-set -g performance",
        ),
    }
}

/// Groups of processes by session.
pub(super) fn autogroup(system: &System) -> Finding {
    match system.number("proc/sys/kernel/sched_autogroup_enabled") {
        Some(1) => Finding::warn(
            "on: other sessions take an equal share whatever their nice value, and beside a pinned spinner the \
             kernel's own threads that complete the disk's writes may not run for seconds",
            "sysctl kernel.sched_autogroup_enabled=0",
        ),
        _ => Finding::ok("off"),
    }
}

/// The source of the kernel's clock and the steadiness of the time stamp counter.
pub(super) fn clock(system: &System) -> Finding {
    let source = system.text("sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.as_deref().unwrap_or("unknown");
    let processor = system.text("proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| {
        processor.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|f| f == flag))
    };
    let is_steady = has("constant_tsc") && has("nonstop_tsc");
    let steady = if is_steady {
        "the time stamp counter is steady"
    } else {
        "the time stamp counter is not said to be steady"
    };
    let finding = format!("source {source}; {steady}");
    match source {
        "tsc" | "arch_sys_counter" => Finding::ok(finding),
        _ => Finding::warn(
            finding + "; reading the time may cost a system call",
            "boot with clocksource=tsc tsc=reliable where the processor's counter is steady",
        ),
    }
}

/// Whether something keeps the system's clock right.
pub(super) fn time() -> Finding {
    // SAFETY: `timex` is a plain C structure for which zeros are valid; modes 0 only reads.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0 {
        return Finding::ok(format!(
            "the clock is kept right, to within {} µs by the kernel's estimate",
            timex.esterror
        ));
    }
    Finding::warn(
        "nothing keeps the clock right: receive times drift against the venue's",
        "run chrony or ptp4l, on this machine or on its host",
    )
}
