//! The core plan: which thread runs on which core, and how it waits.
//!
//! Roles that react in nanoseconds are *hot*; each spins on a core of its own where at least one core is left for the
//! rest. Roles that are not hot always park, on the cores that no spinner has; of these [the write-out](WRITE_OUT) has one
//! to itself where there are two. On too few cores:
//!
//! | Cores | Hot roles | The write-out, if the process has one, and the rest |
//! | --- | --- | --- |
//! | more than hot roles | spin, each on its own | park on the other cores |
//! | as many, without a write-out | yield, each on its own | park anywhere |
//! | as many, with a write-out; fewer | park anywhere | park anywhere |
//!
//! Nobody spins or yields on a core that the write-out has to share: what became durable would wait for milliseconds.

use crate::config::some_number;
use crate::wait::WaitStrategy;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

/// A thread's task, by its name in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    name: &'static str,
    is_hot: bool,
}

/// The thread that writes a process's journals to disk. It waits in its own way, which the plan calls parking.
pub const WRITE_OUT: Role = Role::cold("write-out");

impl Role {
    /// A role that must react in nanoseconds.
    pub const fn hot(name: &'static str) -> Self {
        Self { name, is_hot: true }
    }
    /// Any other role.
    pub const fn cold(name: &'static str) -> Self {
        Self { name, is_hot: false }
    }
    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// Where a role runs and how it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The role.
    pub role: &'static str,
    /// Its core, or `None` where the system decides.
    pub core: Option<usize>,
    /// How it waits.
    pub wait: WaitStrategy,
}

/// What a configuration says about a role; the rest of its placement stays automatic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct PlacementConfig {
    /// The core to run on.
    #[serde(deserialize_with = "some_number::<0, { u16::MAX as i64 }, _, _>")]
    pub core: Option<usize>,
    /// How to wait: `spin`, `yield` or `park`.
    pub wait: Option<WaitStrategy>,
}

/// Placements for all roles of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    placements: Vec<Placement>,
    cores: usize,
}

impl Plan {
    /// The plan that the numbers of roles and cores give. Spinners take the last of `cores`: the first ones serve the
    /// interrupts.
    pub fn automatic(roles: &[Role], cores: &[usize]) -> Self {
        let hot = roles.iter().filter(|role| role.is_hot).count();
        let placements = match cores.len() {
            available if available > hot => Self::spread(roles, cores.split_at(available - hot)),
            available if available == hot && !roles.contains(&WRITE_OUT) => Self::shared(roles, cores),
            _ => roles.iter().map(|role| place(role, None, WaitStrategy::Park)).collect(),
        };
        Self { placements, cores: cores.len() }
    }

    /// Hot roles spin, each on a core of its own; the write-out takes the first of the rest, and the others go round on
    /// what is left of it.
    fn spread(roles: &[Role], (rest, own): (&[usize], &[usize])) -> Vec<Placement> {
        let shared = if roles.contains(&WRITE_OUT) && rest.len() > 1 { &rest[1..] } else { rest };
        let (mut own, mut shared) = (own.iter(), shared.iter().cycle());
        let placed = |role: &Role| match role.is_hot {
            true => place(role, own.next().copied(), WaitStrategy::Spin),
            false if *role == WRITE_OUT => place(role, rest.first().copied(), WaitStrategy::Park),
            false => place(role, shared.next().copied(), WaitStrategy::Park),
        };
        roles.iter().map(placed).collect()
    }

    /// Hot roles yield, one on each core; the system puts the others where there is room.
    fn shared(roles: &[Role], cores: &[usize]) -> Vec<Placement> {
        let mut cores = cores.iter();
        let placed = |role: &Role| match role.is_hot {
            true => place(role, cores.next().copied(), WaitStrategy::Yield),
            false => place(role, None, WaitStrategy::Park),
        };
        roles.iter().map(placed).collect()
    }

    /// The automatic plan with what a configuration says in its place, checked.
    ///
    /// # Errors
    /// An unknown role, a core that this process may not use, a spinner that shares its core, a write-out that does not
    /// park.
    pub fn configured(
        roles: &[Role],
        cores: &[usize],
        config: &BTreeMap<String, PlacementConfig>,
    ) -> Result<Self, PlanError> {
        let mut plan = Self::automatic(roles, cores);
        for (name, wanted) in config {
            let known = || roles.iter().map(|role| role.name).collect::<Vec<_>>().join(", ");
            let Some(placement) = plan.placements.iter_mut().find(|placement| placement.role == name) else {
                return Err(PlanError::UnknownRole { role: name.clone(), known: known() });
            };
            placement.core = wanted.core.or(placement.core);
            placement.wait = wanted.wait.unwrap_or(placement.wait);
        }
        plan.check(cores)?;
        Ok(plan)
    }

    fn check(&self, cores: &[usize]) -> Result<(), PlanError> {
        for placement in &self.placements {
            let Placement { role, core, wait } = *placement;
            if role == WRITE_OUT.name && wait != WaitStrategy::Park {
                return Err(PlanError::WriteOutParks);
            }
            if let Some(core) = core.filter(|core| !cores.contains(core)) {
                return Err(PlanError::UnknownCore { role, core, cores: cores.to_vec() });
            }
            let shares =
                |other: &&Placement| other.role != role && other.core.is_some() && other.core == core;
            if let Some(other) = self.placements.iter().find(shares).filter(|_| wait == WaitStrategy::Spin) {
                return Err(PlanError::SharedSpin {
                    role,
                    other: other.role,
                    core: core.unwrap_or_default(),
                });
            }
            if wait == WaitStrategy::Spin && (core.is_none() || cores.len() == 1) {
                return Err(PlanError::LooseSpin { role });
            }
        }
        Ok(())
    }

    /// Where a role runs.
    ///
    /// # Panics
    /// If the plan was made without that role.
    pub fn place(&self, role: &str) -> &Placement {
        let found = self.placements.iter().find(|placement| placement.role == role);
        found.unwrap_or_else(|| panic!("the role '{role}' is not in the plan"))
    }

    /// The same without the roles for which it only leaves room, since they run in other processes.
    #[must_use]
    pub fn only(mut self, roles: &[Role]) -> Self {
        self.placements.retain(|placement| roles.iter().any(|role| role.name == placement.role));
        self
    }

    /// Writes into a configuration where the write-out runs, for the bus that is opened with it.
    ///
    /// # Panics
    /// If the plan was made without [`WRITE_OUT`].
    pub fn place_write_out(&self, cores: &mut BTreeMap<String, PlacementConfig>) {
        let Placement { role, core, .. } = *self.place(WRITE_OUT.name);
        cores.insert(role.into(), PlacementConfig { core, wait: None });
    }

    /// All placements, in the order of the roles.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// Lets the kernel's threads run beside the spinners of this plan: where the system groups tasks by session, this
    /// session's group steps back (nice 10 in `/proc/self/autogroup`, sched(7)). Returns what was done, for the start of a
    /// program; `None` where nobody spins, or nothing was needed or allowed.
    pub fn make_way(&self) -> Option<&'static str> {
        let spins = self.placements.iter().any(|placement| placement.wait == WaitStrategy::Spin);
        (spins && crate::machine::step_back()).then_some(
            "this session's autogroup steps back (nice 10), so that the kernel's disk threads run beside a spinner",
        )
    }

    /// The plan in one line, for the start of a program.
    pub fn describe(&self) -> String {
        let placed: Vec<_> = self.placements.iter().map(ToString::to_string).collect();
        let cores = if self.cores == 1 { "1 core" } else { &format!("{} cores", self.cores) };
        format!("core plan for {cores}: {}", placed.join(", "))
    }
}

fn place(role: &Role, core: Option<usize>, wait: WaitStrategy) -> Placement {
    Placement { role: role.name, core, wait }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.core {
            Some(core) => write!(f, "{} on core {core} ({})", self.role, self.wait),
            None => write!(f, "{} on any ({})", self.role, self.wait),
        }
    }
}

/// Why a plan was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// The configuration places a role that the program does not have.
    UnknownRole {
        /// The role.
        role: String,
        /// The program's roles.
        known: String,
    },
    /// The process may not run on that core.
    UnknownCore {
        /// The role.
        role: &'static str,
        /// The core.
        core: usize,
        /// Cores that it may use.
        cores: Vec<usize>,
    },
    /// A role spins on a core that another role has too.
    SharedSpin {
        /// The spinner.
        role: &'static str,
        /// The other.
        other: &'static str,
        /// Their core.
        core: usize,
    },
    /// A role spins without a core of its own.
    LooseSpin {
        /// The spinner.
        role: &'static str,
    },
    /// The write-out is to wait otherwise than it does.
    WriteOutParks,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRole { role, known } => write!(f, "unknown role: {role}; the roles are {known}"),
            Self::UnknownCore { role, core, cores } => {
                write!(f, "no such core: {role} on core {core}; this process may use {cores:?}")
            }
            Self::SharedSpin { role, other, core } => {
                write!(
                    f,
                    "a spinner shares its core: {role} and {other} on core {core}; let both yield or move one"
                )
            }
            Self::LooseSpin { role } => {
                write!(
                    f,
                    "a spinner without a core of its own: {role}; give it one of several cores or let it yield"
                )
            }
            Self::WriteOutParks => {
                write!(f, "the write-out always parks: {}; give it a core only", WRITE_OUT.name)
            }
        }
    }
}

impl std::error::Error for PlanError {}

/// The cores that this process may use, as they were when this was first called: to be called before any thread is
/// pinned, since a pinned thread is told only its own core. Those on which the disks interrupt come first, where a plan
/// puts the write-out and no spinner. Where a control group limits the processor time, no more
/// cores than that time fills are listed, since more spinners would be stopped for a while in each period.
pub fn available_cores() -> &'static [usize] {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    CORES.get_or_init(|| {
        let found = core_affinity::get_core_ids().unwrap_or_default();
        let mut cores: Vec<usize> = found.into_iter().map(|core| core.id).collect();
        if cores.is_empty() {
            cores.push(0);
        }
        // Stable: those where the disks interrupt come first, the others stay in their order.
        let disks = crate::machine::disk_cores();
        cores.sort_by_key(|core| !disks.contains(core));
        if let Some(quota) = crate::machine::cpu_quota() {
            cores.truncate(quota.whole_cores().max(1));
        }
        cores
    })
}

/// Pins the calling thread. A refusal (the core went away) is told by `false` and leaves the thread where it was.
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROLES: [Role; 4] = [Role::hot("gateway"), Role::hot("risk"), WRITE_OUT, Role::cold("listener")];

    fn cores(count: usize) -> Vec<usize> {
        (0..count).collect()
    }

    fn line(count: usize) -> String {
        Plan::automatic(&ROLES, &cores(count)).describe()
    }

    #[test]
    fn the_rules_from_one_core_to_many() {
        assert_eq!(
            line(1),
            "core plan for 1 core: gateway on any (park), risk on any (park), write-out on any (park), \
             listener on any (park)"
        );
        assert_eq!(
            line(2),
            "core plan for 2 cores: gateway on any (park), risk on any (park), write-out on any (park), \
             listener on any (park)"
        );
        assert_eq!(
            line(3),
            "core plan for 3 cores: gateway on core 1 (spin), risk on core 2 (spin), write-out on core 0 (park), \
             listener on core 0 (park)"
        );
        assert!(line(4).ends_with("write-out on core 0 (park), listener on core 1 (park)"));
        assert!(line(16).contains("gateway on core 14 (spin), risk on core 15 (spin), write-out on core 0"));
        assert!(line(16).ends_with("listener on core 1 (park)"));
    }

    #[test]
    fn without_a_write_out_hot_roles_share_cores_by_yielding() {
        let line = Plan::automatic(&ROLES[..2], &cores(2)).describe();
        assert_eq!(line, "core plan for 2 cores: gateway on core 0 (yield), risk on core 1 (yield)");
    }

    #[test]
    fn room_is_left_for_a_role_of_another_process_and_nothing_is_said_of_it() {
        let plan = Plan::automatic(&ROLES, &cores(3)).only(&[ROLES[1], WRITE_OUT]);
        assert_eq!(
            plan.describe(),
            "core plan for 3 cores: risk on core 2 (spin), write-out on core 0 (park)"
        );
    }

    fn configured(role: &str, core: Option<usize>, wait: Option<WaitStrategy>) -> Result<Plan, String> {
        let config = BTreeMap::from([(role.to_owned(), PlacementConfig { core, wait })]);
        Plan::configured(&ROLES, &cores(4), &config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_configuration_replaces_what_it_names() {
        let plan = configured("listener", Some(0), Some(WaitStrategy::Yield)).unwrap();
        assert_eq!(plan.place("listener").to_string(), "listener on core 0 (yield)");
        let plan = configured("write-out", Some(1), None).unwrap();
        assert_eq!(plan.place("write-out").to_string(), "write-out on core 1 (park)");
        assert_eq!(plan.place("risk").to_string(), "risk on core 3 (spin)");
    }

    #[test]
    fn wrong_plans_are_refused() {
        for (plan, want) in [
            (
                configured("riks", None, None),
                "unknown role: riks; the roles are gateway, risk, write-out, listener",
            ),
            (
                configured("risk", Some(9), None),
                "no such core: risk on core 9; this process may use [0, 1, 2, 3]",
            ),
            (configured("risk", Some(2), None), "a spinner shares its core: gateway and risk on core 2"),
            (
                configured("write-out", Some(3), None),
                "a spinner shares its core: risk and write-out on core 3",
            ),
            (
                configured("write-out", None, Some(WaitStrategy::Yield)),
                "the write-out always parks: write-out",
            ),
        ] {
            let error = plan.unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
        let spin =
            BTreeMap::from([("risk".into(), PlacementConfig { core: None, wait: Some(WaitStrategy::Spin) })]);
        let error = Plan::configured(&ROLES, &[0], &spin).unwrap_err();
        assert_eq!(error, PlanError::LooseSpin { role: "risk" });
    }

    proptest! {
        #[test]
        fn automatic_plans_are_right_for_any_numbers(hot in 0..20_usize, cold in 0..20_usize, count in 1..40_usize, has_write_out: bool) {
            let names: Vec<&'static str> = (0..hot + cold).map(|n| &*format!("r{n}").leak()).collect();
            let role = |(n, name): (usize, &&'static str)| if n < hot { Role::hot(name) } else { Role::cold(name) };
            let mut roles: Vec<_> = names.iter().enumerate().map(role).collect();
            roles.extend(has_write_out.then_some(WRITE_OUT));
            let plan = Plan::automatic(&roles, &cores(count));
            prop_assert_eq!(plan.check(&cores(count)), Ok(()));
            let waits = |wait| plan.placements().iter().filter(|placed| placed.wait == wait).count();
            prop_assert_eq!(waits(WaitStrategy::Spin), if count > hot { hot } else { 0 });
            prop_assert!(!has_write_out || waits(WaitStrategy::Yield) == 0);
            prop_assert_eq!(plan.placements().len(), roles.len());
        }
    }
}
