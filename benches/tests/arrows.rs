//! Who may depend on whom. The arrows are the architecture: see ARCHITECTURE.md.
#![allow(missing_docs)]

use std::{collections::BTreeMap, process::Command};

/// Each package of the workspace and those of its own kind that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("journal", &[]),
    ("bus-derive", &[]),
    ("bus", &["journal", "bus-derive"]),
    ("archive", &["bus"]),
    ("market-gateway", &["bus"]),
    ("engine", &["bus"]),
    ("replay", &["bus", "engine"]),
    ("risk-engine", &["bus", "archive", "market-gateway", "engine", "replay"]),
    ("benches", &["journal", "bus", "archive", "market-gateway", "engine", "replay", "risk-engine"]),
];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

fn packages() -> BTreeMap<String, serde_json::Value> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), package.clone())).collect()
}

#[test]
fn every_package_uses_only_what_its_arrows_allow() {
    let packages = packages();
    let known: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, package) in &packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| known == name) else {
            panic!("package {name} has no place in the architecture");
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let is_test_only = dependency["kind"] == "dev" && used == name;
            assert!(is_test_only || !known.contains(&used) || allowed.contains(&used), "{name} uses {used}");
        }
    }
    assert_eq!(packages.len(), ARROWS.len(), "every package of the architecture is there");
}

#[test]
fn every_package_opts_into_the_lints_of_the_workspace() {
    for (name, package) in packages() {
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} skips the workspace's lints");
    }
}

#[test]
fn only_the_risk_engine_is_run_by_default() {
    for (name, package) in packages() {
        let default_run = package["default_run"].as_str();
        assert_eq!(default_run, (name == "risk-engine").then_some("risk-engine"), "{name}");
    }
}
