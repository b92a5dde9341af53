//! What runs share: who gets a place, and when.

use std::collections::BTreeMap;

use proptest::prelude::*;
use signalbox_contract::{AttemptKey, RepoName};
use signalbox_controller_core::Resource;
use signalbox_controller_core::resource::{Claim, Granted, Message, ResourceKey};

use crate::sample::{at, environment, executor, named, run_id, target};
use crate::whole::check;

fn holder(number: u64) -> AttemptKey {
    AttemptKey { run: run_id(number), step: 1, attempt: 1 }
}

fn claim(number: u64, repo: &str, priority: i32) -> Claim {
    let asked_at = at(i64::try_from(number).expect("small"));
    Claim { holder: holder(number), repo: Some(named(repo)), name: None, priority, asked_at, fence: None }
}

fn ask(resource: &mut Resource, claim: Claim) -> Vec<Granted> {
    resource.take(&Message::Ask { resource: resource.key.clone(), claim })
}

fn release(resource: &mut Resource, number: u64) -> Vec<Granted> {
    resource.take(&Message::Release { resource: resource.key.clone(), holder: holder(number) })
}

fn numbers(granted: &[Granted]) -> Vec<AttemptKey> {
    granted.iter().map(|granted| granted.key).collect()
}

/// An executor at which `loud` has asked a thousand times.
fn crowded(capacity: u32) -> Resource {
    let mut resource = Resource::new(executor("local"), capacity);
    for number in 0..1000 {
        ask(&mut resource, claim(number, "loud", 0));
    }
    resource
}

fn repo_of(resource: &Resource, granted: &Granted) -> RepoName {
    resource.claim(&granted.key).and_then(|claim| claim.repo.clone()).expect("a claim with a repository")
}

#[test]
fn a_repository_with_a_thousand_claims_delays_another_by_no_more_than_one_turn() {
    for capacity in [1, 2, 5] {
        let mut resource = crowded(capacity);
        assert_eq!(ask(&mut resource, claim(2000, "quiet", 0)), [], "the places are taken");
        assert_eq!(numbers(&release(&mut resource, 0)), [holder(2000)], "the first that comes free is its own");
    }
}

#[test]
fn two_that_come_and_go_in_turn_do_not_keep_a_third_waiting() {
    let mut resource = crowded(1);
    ask(&mut resource, claim(2000, "a", 0));
    assert_eq!(numbers(&release(&mut resource, 0)), [holder(2000)]);
    let mut loud = 0;
    for number in 2001..2021 {
        let repo = if number % 2 == 0 { "a" } else { "b" };
        ask(&mut resource, claim(number, repo, 0));
        let holding = resource.claims().find(|claim| claim.fence.is_some()).expect("somebody holds it").holder;
        let granted = resource.take(&Message::Release { resource: resource.key.clone(), holder: holding });
        loud += usize::from(repo_of(&resource, &granted[0]).as_str() == "loud");
    }
    assert!(loud >= 6, "every one of the three has its turns: {loud} of 20");
}

#[test]
fn several_repositories_that_all_have_much_to_do_take_turns() {
    let mut resource = Resource::new(executor("local"), 1);
    for number in 0..30 {
        ask(&mut resource, claim(number, ["a", "b", "c"][usize::from(number >= 10) + usize::from(number >= 20)], 0));
    }
    let mut served = Vec::new();
    let mut holding = holder(0);
    for _ in 0..12 {
        let granted = resource.take(&Message::Release { resource: resource.key.clone(), holder: holding });
        holding = granted[0].key;
        served.push(repo_of(&resource, &granted[0]).to_string());
    }
    for turn in served.windows(3) {
        let mut turn = turn.to_vec();
        turn.sort();
        assert_eq!(turn, ["a", "b", "c"], "{served:?}");
    }
}

#[test]
fn a_repository_that_holds_the_least_comes_first() {
    let mut resource = Resource::new(executor("local"), 3);
    ask(&mut resource, claim(1, "a", 0));
    ask(&mut resource, claim(2, "a", 0));
    ask(&mut resource, claim(3, "b", 0));
    ask(&mut resource, claim(4, "a", 0));
    ask(&mut resource, claim(5, "b", 0));
    assert_eq!(numbers(&release(&mut resource, 1)), [holder(4)], "each holds one: the one that was served longest ago");
    assert_eq!(numbers(&release(&mut resource, 3)), [holder(5)], "b holds none");
}

#[test]
fn the_more_urgent_claim_goes_first_whoever_has_it() {
    let mut resource = crowded(1);
    ask(&mut resource, claim(2000, "quiet", 0));
    ask(&mut resource, claim(2001, "loud", 5));
    assert_eq!(numbers(&release(&mut resource, 0)), [holder(2001)]);
    assert_eq!(numbers(&release(&mut resource, 2001)), [holder(2000)]);
}

#[test]
fn asking_twice_is_asking_once_and_giving_back_what_nobody_has_is_nothing() {
    let mut resource = crowded(2);
    let before = resource.clone();
    assert_eq!(ask(&mut resource, claim(0, "loud", 0)), [], "it has its place");
    assert_eq!(ask(&mut resource, claim(500, "loud", 9)), [], "it keeps its place in the queue");
    assert_eq!(release(&mut resource, 3000), []);
    assert_eq!(resource, before);
}

#[test]
fn one_that_waits_may_leave_without_a_place() {
    let mut resource = crowded(1);
    assert_eq!(release(&mut resource, 1), []);
    assert_eq!(numbers(&release(&mut resource, 0)), [holder(2)]);
}

#[test]
fn more_room_is_given_at_once_and_less_room_takes_from_nobody() {
    let mut resource = crowded(2);
    assert_eq!(resource.resize(4).len(), 2);
    assert_eq!(resource.resize(1), []);
    assert_eq!(resource.holders(), 4);
    for number in 0..3 {
        assert_eq!(release(&mut resource, number), [], "there are still as many as there may be, or more");
    }
    assert_eq!(numbers(&release(&mut resource, 3)), [holder(4)]);
}

#[test]
fn the_numbers_go_on_above_all_that_were_given_before_a_backup_was_restored() {
    let mut resource = Resource::new(environment("test"), 1);
    resource.raise(1_000_000);
    assert_eq!(ask(&mut resource, claim(1, "a", 0))[0].fence, 1_000_001);
    release(&mut resource, 1);
    resource.raise(1_000_000);
    assert_eq!(ask(&mut resource, claim(2, "a", 0))[0].fence, 1_000_002, "they never fall");
}

#[test]
fn an_environment_remembers_the_newest_run_of_each_name() {
    let mut resource = Resource::new(environment("test"), 1);
    for run in [3, 5, 4] {
        let name = target("test", "hello").name;
        resource.take(&Message::Deployed { resource: environment("test"), name, run: run_id(run) });
    }
    let wants = |number, name| Claim { name: Some(named(name)), ..claim(number, "a", 0) };
    assert_eq!(ask(&mut resource, wants(1, "hello"))[0].newest, Some(run_id(5)));
    ask(&mut resource, wants(2, "other"));
    assert_eq!(release(&mut resource, 1)[0].newest, None);
}

#[derive(Debug, Clone)]
enum Move {
    Ask { number: u64, repo: usize, priority: i32 },
    Release(u64),
    Resize(u32),
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0..40_u64, 0..4_usize, 0..2_i32).prop_map(|(number, repo, priority)| Move::Ask { number, repo, priority }),
        6 => (0..40_u64).prop_map(Move::Release),
        1 => (1..5_u32).prop_map(Move::Resize),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 0..120)
}

/// The rule in its plainest form: a list of claims, looked through from the beginning each time.
#[derive(Debug, Default)]
struct Model {
    claims: Vec<Claim>,
    fence: u64,
    served: BTreeMap<RepoName, u64>,
}

impl Model {
    fn of(&self, repo: &RepoName, granted: bool) -> usize {
        self.claims.iter().filter(|claim| claim.repo.as_ref() == Some(repo) && claim.fence.is_some() == granted).count()
    }

    fn ask(&mut self, claim: Claim) {
        let repo = claim.repo.clone().expect("it has one");
        if self.claims.iter().all(|known| known.holder != claim.holder) {
            if self.of(&repo, true) + self.of(&repo, false) == 0 {
                self.served.insert(repo, self.fence.saturating_sub(1));
            }
            self.claims.push(claim);
        }
    }

    fn grant(&mut self, capacity: u32) -> Vec<AttemptKey> {
        let mut granted = Vec::new();
        while self.claims.iter().filter(|claim| claim.fence.is_some()).count() < capacity as usize {
            let rank = |claim: &Claim| {
                let repo = claim.repo.as_ref().expect("it has one");
                (-claim.priority, self.of(repo, true), self.served[repo], claim.asked_at, claim.holder)
            };
            let Some(holder) = self.claims.iter().filter(|claim| claim.fence.is_none()).min_by_key(|c| rank(c)).map(|c| c.holder) else {
                break;
            };
            self.fence += 1;
            for claim in self.claims.iter_mut().filter(|claim| claim.holder == holder) {
                claim.fence = Some(self.fence);
                self.served.insert(claim.repo.clone().expect("it has one"), self.fence);
            }
            granted.push(holder);
        }
        granted
    }
}

#[test]
fn a_resource_grants_as_its_rule_says() {
    check("a resource", 400, &moves(), |moves| {
        let mut resource = Resource::new(ResourceKey::Executor(named("local")), 2);
        let mut model = Model::default();
        for step in moves {
            let granted = match step {
                Move::Ask { number, repo, priority } => {
                    let claim = claim(number, ["a", "b", "c", "d"][repo], priority);
                    model.ask(claim.clone());
                    ask(&mut resource, claim)
                }
                Move::Release(number) => {
                    model.claims.retain(|claim| claim.holder != holder(number));
                    release(&mut resource, number)
                }
                Move::Resize(capacity) => resource.resize(capacity),
                Move::Restart => {
                    let again = Resource::restore(resource.record(), resource.claims().cloned());
                    assert_eq!(again, resource);
                    Vec::new()
                }
            };
            assert_eq!(numbers(&granted), model.grant(resource.capacity));
            assert_eq!(resource.fence, model.fence);
            assert_eq!(resource.claims().count(), model.claims.len());
            for claim in &model.claims {
                assert_eq!(resource.claim(&claim.holder), Some(claim));
            }
        }
    });
}
