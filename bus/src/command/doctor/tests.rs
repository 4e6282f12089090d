use super::*;
use bus::machine::CpuQuota;

/// A system with the given files.
fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = directory.path().to_owned();
    (directory, System { root })
}

fn status(check: fn(&System) -> Finding, files: &[(&str, &str)]) -> Status {
    let (_directory, system) = system(files);
    let finding = check(&system);
    assert_eq!(finding.remedy.is_some(), finding.status == Status::Warn, "{finding:?}");
    finding.status
}

#[test]
fn each_lack_is_a_warning_with_a_remedy() {
    for (check, good, bad) in [
        (processor::isolation as fn(&System) -> Finding, ("sys/devices/system/cpu/isolated", "2-3\n"), "\n"),
        (
            processor::governor,
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
            "powersave",
        ),
        (processor::autogroup, ("proc/sys/kernel/sched_autogroup_enabled", "0\n"), "1\n"),
        (
            processor::clock,
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
            "hpet",
        ),
        (
            processor::steal,
            ("proc/stat", "cpu  900 0 99 9000 0 0 1 99 0 0\n"),
            "cpu  900 0 99 900 0 0 1 99 0 0\n",
        ),
        (kernel::release, ("proc/sys/kernel/osrelease", "6.1.0-generic\n"), "5.15.0"),
        (kernel::socket_buffers, ("proc/sys/net/core/rmem_max", "16777216\n"), "212992\n"),
    ] {
        assert_eq!(status(check, &[good]), Status::Ok, "{good:?}");
        assert_eq!(status(check, &[(good.0, bad)]), Status::Warn, "{bad:?}");
    }
}

#[test]
fn a_system_that_shows_nothing_is_examined_all_the_same() {
    let (directory, nothing) = system(&[]);
    let found = checks(&nothing, &directory.path().join("a/b/c"));
    assert!(found.len() >= 10);
    for (check, finding) in &found {
        assert!(!finding.finding.is_empty() && !finding.finding.contains('\n'), "{check}: {finding:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn few_cores_and_a_quota_are_named() {
    assert_eq!(processor::cores(16), Finding::ok("16 for this process"));
    assert_eq!(processor::cores(1).status, Status::Warn);
    assert_eq!(processor::quota(None).status, Status::Ok);
    let quota = processor::quota(Some(CpuQuota { quota_us: 150_000, period_us: 100_000 }));
    assert!(quota.finding.starts_with("150000 of each 100000 µs"), "{quota:?}");
}

#[test]
fn a_disk_without_a_directory_is_no_panic() {
    for path in ["/proc/nothing/here", "", "relative", "/dev/null/x"] {
        assert!(!disk::check(Path::new(path)).finding.is_empty());
    }
}

#[test]
fn the_report_is_one_object_with_a_member_for_each_check() {
    let report = Report {
        checks: vec![("cores", Finding::ok("8")), ("clock", Finding::warn("hpet", "use tsc"))],
        forgotten: Vec::new(),
    };
    assert_eq!(
        serde_json::to_string(&report).unwrap(),
        concat!(
            r#"{"ok":true,"cores":{"status":"ok","finding":"8","remedy":null},"#,
            r#""clock":{"status":"warn","finding":"hpet","remedy":"use tsc"},"forgotten":[]}"#
        )
    );
}
