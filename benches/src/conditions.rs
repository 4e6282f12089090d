//! What every figure is printed with.

use bus::program::{Failure, note, print_line};

use crate::placement::ping_pong;

/// Prints what is measured and on what: the processor, its cores, the system, how near the cores are right now. `how`
/// says the rest: placement, rate, length.
pub(crate) fn print(as_json: bool, what: &str, how: &str) -> Result<(), Failure> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    let autogroup = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").unwrap_or_default();
    let autogroup = if autogroup.trim() == "1" { "on" } else { "off" };
    let raw = ping_pong();
    let distance = match raw {
        ..120.0 => "near",
        ..2_000.0 => "far",
        _ => "no two cores are free: figures are of the crowd, not of this program",
    };
    let text = format!(
        "{what}; {model}, {cores} cores, load {load}, Linux {}, autogroups {autogroup}, raw ping-pong {raw:.0} ns ({distance}), {how}",
        kernel.trim(),
    );
    if as_json {
        note(&text);
        return Ok(());
    }
    print_line(&text)
}
