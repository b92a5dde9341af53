//! Which crate may depend on which.

use cargo_metadata::{DependencyKind, Metadata};

/// A crate of the workspace, and what it declares to depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The workspace crates that are linked into it, or run when it is built.
    pub(crate) linked: Vec<String>,
    /// The workspace crates that its tests alone use.
    pub(crate) tested_with: Vec<String>,
    /// The crates of others that are linked into it, or run when it is built.
    pub(crate) foreign: Vec<String>,
}

/// What a crate of ours may depend on.
struct Rule {
    name: &'static str,
    /// Workspace crates that it may link.
    may_link: &'static [&'static str],
    /// Workspace crates that its tests may use besides.
    may_test_with: &'static [&'static str],
    /// The only foreign crates that it may link; `None` where the workspace's list is limit enough.
    may_use: Option<&'static [&'static str]>,
}

const CONTRACT: &str = "signalbox-contract";
const CORE: &str = "signalbox-controller-core";
const SERVICE: &str = "signalbox-service";
const ADAPTERS: &str = "signalbox-adapters";
const FAKES: &str = "signalbox-fakes";

/// Values and their JSON, and nothing that could open a file or a socket.
const VOCABULARY: &[&str] = &["jiff", "serde", "serde_json", "thiserror", "url", "utoipa", "uuid"];

const RULES: &[Rule] = &[
    Rule { name: CONTRACT, may_link: &[], may_test_with: &[], may_use: Some(VOCABULARY) },
    Rule { name: CORE, may_link: &[CONTRACT], may_test_with: &[], may_use: Some(VOCABULARY) },
    // It sees what the core sees, and a clock for its own figures.
    Rule {
        name: "signalbox-simulator",
        may_link: &[CONTRACT, CORE],
        may_test_with: &[],
        may_use: Some(&["clap", "jiff", "rustix", "uuid"]),
    },
    Rule { name: SERVICE, may_link: &[CONTRACT], may_test_with: &[], may_use: None },
    Rule { name: "signalbox-artifact-store", may_link: &[CONTRACT, SERVICE], may_test_with: &[], may_use: None },
    Rule { name: "signalbox-deploy-worker", may_link: &[CONTRACT, SERVICE], may_test_with: &[], may_use: None },
    // The conformance suite, which every executor has to pass, lives beside the trait.
    Rule { name: "signalbox-local-executor", may_link: &[CONTRACT, SERVICE], may_test_with: &[ADAPTERS], may_use: None },
    Rule { name: ADAPTERS, may_link: &[CONTRACT, SERVICE], may_test_with: &[FAKES], may_use: None },
    Rule { name: FAKES, may_link: &[CONTRACT, SERVICE], may_test_with: &[], may_use: None },
    Rule { name: "signalbox-vcs-worker", may_link: &[CONTRACT, SERVICE, ADAPTERS], may_test_with: &[FAKES], may_use: None },
    Rule { name: "signalbox-controller", may_link: &[CONTRACT, SERVICE, ADAPTERS, CORE], may_test_with: &[FAKES], may_use: None },
    Rule {
        name: "signalbox",
        may_link: &[
            CONTRACT,
            SERVICE,
            ADAPTERS,
            FAKES,
            "signalbox-artifact-store",
            "signalbox-controller",
            "signalbox-deploy-worker",
            "signalbox-local-executor",
            "signalbox-vcs-worker",
        ],
        may_test_with: &[],
        may_use: None,
    },
    Rule {
        name: "signalbox-scenarios",
        may_link: &[
            CONTRACT,
            SERVICE,
            ADAPTERS,
            CORE,
            FAKES,
            "signalbox-artifact-store",
            "signalbox-controller",
            "signalbox-deploy-worker",
            "signalbox-local-executor",
            "signalbox-vcs-worker",
            "signalbox",
        ],
        may_test_with: &[],
        may_use: None,
    },
    Rule {
        name: "signalbox-campaigns",
        may_link: &[
            CONTRACT,
            SERVICE,
            ADAPTERS,
            CORE,
            FAKES,
            "signalbox-artifact-store",
            "signalbox-controller",
            "signalbox-deploy-worker",
            "signalbox-local-executor",
            "signalbox-vcs-worker",
            "signalbox",
            "signalbox-scenarios",
        ],
        may_test_with: &[],
        may_use: None,
    },
    // It drives the shipped program from outside, and links none of its services.
    Rule { name: "signalbox-benchmarks", may_link: &[CONTRACT, SERVICE], may_test_with: &[], may_use: None },
    Rule { name: "xtask", may_link: &[], may_test_with: &[], may_use: None },
];

/// The members as Cargo knows them.
pub(crate) fn members(workspace: &Metadata) -> Vec<Member> {
    workspace
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let mut member = Member { name: package.name.to_string(), linked: Vec::new(), tested_with: Vec::new(), foreign: Vec::new() };
            for dependency in &package.dependencies {
                // What has a path is ours; whatever else there is comes from the index (`check-dependencies` sees to that).
                let ours = dependency.path.is_some();
                let list = match (ours, dependency.kind == DependencyKind::Development) {
                    (true, false) => &mut member.linked,
                    (true, true) => &mut member.tested_with,
                    (false, false) => &mut member.foreign,
                    (false, true) => continue,
                };
                list.push(dependency.name.clone());
            }
            member
        })
        .collect()
}

/// Every dependency that the architecture does not allow, as a sentence.
pub(crate) fn faults(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for member in members {
        let Some(rule) = RULES.iter().find(|rule| rule.name == member.name) else {
            faults.push(format!(
                "{} is a crate that the architecture does not know; a new one needs a decision record and a rule in ops/xtask/src/edges.rs",
                member.name
            ));
            continue;
        };
        for edge in &member.linked {
            if !rule.may_link.contains(&edge.as_str()) {
                faults.push(format!("{} must not depend on {edge}", member.name));
            }
        }
        for edge in &member.tested_with {
            if !rule.may_link.contains(&edge.as_str()) && !rule.may_test_with.contains(&edge.as_str()) {
                faults.push(format!("{} must not depend on {edge}, not even in its tests", member.name));
            }
        }
        if let Some(allowed) = rule.may_use {
            for edge in member.foreign.iter().filter(|edge| !allowed.contains(&edge.as_str())) {
                faults.push(format!("{} must not depend on the crate {edge}: it is kept free of everything but values", member.name));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, linked: &[&str], tested_with: &[&str], foreign: &[&str]) -> Member {
        let own = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        Member { name: name.to_owned(), linked: own(linked), tested_with: own(tested_with), foreign: own(foreign) }
    }

    #[test]
    fn the_tree_as_it_is_has_no_forbidden_edge() {
        let workspace = crate::cargo::workspace().expect("cargo answers");
        assert_eq!(faults(&members(&workspace)), Vec::<String>::new());
    }

    #[test]
    fn a_service_that_depends_on_a_service_is_found() {
        let found = faults(&[member("signalbox-deploy-worker", &[CONTRACT, "signalbox-artifact-store"], &[], &[])]);
        assert_eq!(found, ["signalbox-deploy-worker must not depend on signalbox-artifact-store"]);
    }

    #[test]
    fn a_service_that_links_the_fakes_is_found_and_one_that_tests_with_them_is_not() {
        assert_eq!(faults(&[member("signalbox-controller", &[FAKES], &[], &[])]).len(), 1);
        assert_eq!(faults(&[member("signalbox-controller", &[CORE], &[FAKES], &[])]).len(), 0);
    }

    #[test]
    fn a_core_that_could_do_io_is_found() {
        assert_eq!(faults(&[member(CORE, &[CONTRACT], &[], &["serde", "tokio"])]).len(), 1);
        assert_eq!(faults(&[member(CORE, &[SERVICE], &[], &[])]).len(), 1);
    }

    #[test]
    fn a_crate_that_nobody_thought_of_is_found() {
        assert_eq!(faults(&[member("signalbox-utils", &[], &[], &[])]).len(), 1);
    }

    #[test]
    fn tests_do_not_reach_across_services_either() {
        assert_eq!(faults(&[member("signalbox-vcs-worker", &[], &["signalbox-artifact-store"], &[])]).len(), 1);
    }
}
