//! What jobs a definition makes.

use std::collections::BTreeMap;

use super::{jobs, mistake, names, one, push, variables};
use crate::gitlab::ci::{AllowFailure, ArtifactsWhen, Definition, Sources, TriggerTarget, When};

#[test]
fn stages_order_the_jobs_and_a_job_without_a_stage_is_a_test() {
    let text =
        "stages: [build, test, ship]\nship: {stage: ship, script: ship}\ncheck: {script: check}\nmake: {stage: build, script: make}\n";
    assert_eq!(names(text, &push("main")), ["make", "check", "ship"]);
    let made = jobs(text, &push("main"));
    assert_eq!(made.iter().map(|job| job.stage_index).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn defaults_are_taken_over_unless_a_job_says_otherwise() {
    let text = "
default:
  image: debian
  before_script: [prepare]
  retry: 1
  timeout: 1h 30m
plain: {script: a}
own: {script: b, before_script: [], image: {name: alpine, entrypoint: ['']}}
alone: {script: c, inherit: {default: false}}
some: {script: d, inherit: {default: [image]}}
";
    let made = jobs(text, &push("main"));
    let find = |name: &str| made.iter().find(|job| job.name == name).unwrap();
    assert_eq!((find("plain").before_script.clone(), find("plain").timeout), (vec!["prepare".to_owned()], Some(5_400)));
    assert!(find("own").before_script.is_empty());
    assert_eq!(find("own").image.as_ref().unwrap().name, "alpine");
    assert!(find("alone").image.is_none());
    assert_eq!((find("some").image.is_some(), find("some").retry.max), (true, 0));
}

#[test]
fn what_is_extended_is_merged_deeply_and_lists_are_replaced() {
    let text = "
.base: {stage: build, tags: [a, b], variables: {A: '1', B: '1'}, script: [base]}
.more: {variables: {B: '2'}, tags: [c]}
job: {extends: [.base, .more], variables: {C: '3'}}
";
    let job = one(text);
    assert_eq!(job.tags, ["c"]);
    assert_eq!(job.script, ["base"]);
    assert_eq!(variables(&job), BTreeMap::from([("A", "1"), ("B", "2"), ("C", "3")]));
}

#[test]
fn anchors_merge_keys_and_references_are_put_in() {
    let text = "
.setup: &setup
  script: [one, two]
  variables: {URL: https://example.org}
.lines: &lines
  - three
first:
  <<: *setup
  after_script: *lines
second:
  script:
    - !reference [.setup, script]
    - !reference [.nested, script]
    - last
  variables:
    URL: !reference [.setup, variables, URL]
.nested: {script: [!reference [.lines]]}
";
    let made = jobs(text, &push("main"));
    assert_eq!(made[0].script, ["one", "two"]);
    assert_eq!(made[0].after_script, ["three"]);
    assert_eq!(made[1].script, ["one", "two", "three", "last"]);
    assert_eq!(variables(&made[1])["URL"], "https://example.org");
}

#[test]
fn a_job_can_be_made_several_times() {
    let text = "
test: {script: t, parallel: 3}
deploy:
  stage: deploy
  script: d
  needs: [test]
  parallel: {matrix: [{HOST: [a, b], KIND: x}, {HOST: c, KIND: [y, 1]}]}
";
    let made = jobs(text, &push("main"));
    let names: Vec<&str> = made.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["test 1/3", "test 2/3", "test 3/3", "deploy: [a, x]", "deploy: [b, x]", "deploy: [c, y]", "deploy: [c, 1]"]);
    assert_eq!(made[1].parallel, Some((2, 3)));
    assert_eq!(variables(&made[4]), BTreeMap::from([("HOST", "b"), ("KIND", "x")]));
    assert_eq!(made[3].needs.as_ref().unwrap().len(), 3);
}

#[test]
fn variables_may_be_described_kept_raw_and_left_behind() {
    let text = "
variables:
  LEVEL: {value: high, description: How much, options: [high, low]}
  COUNT: 3
  RAW: {value: $LEVEL, expand: false}
  EMPTY:
all: {script: a, variables: {COUNT: 4}}
none: {script: a, inherit: {variables: false}}
some: {script: a, inherit: {variables: [COUNT]}}
";
    let made = jobs(text, &push("main"));
    assert_eq!(variables(&made[0]), BTreeMap::from([("LEVEL", "high"), ("COUNT", "4"), ("RAW", "$LEVEL"), ("EMPTY", "")]));
    assert!(!made[0].variables.iter().find(|variable| variable.name == "RAW").unwrap().expand);
    assert!(made[1].variables.is_empty());
    assert_eq!(variables(&made[2]), BTreeMap::from([("COUNT", "3")]));
}

#[test]
fn every_part_of_a_job_is_read() {
    let text = "
full:
  script: [make]
  stage: build
  when: delayed
  start_in: 30 minutes
  allow_failure: {exit_codes: [1, 77]}
  retry: {max: 2, when: [runner_system_failure], exit_codes: 137}
  artifacts: {paths: [out/], exclude: [out/tmp], name: $CI_JOB_NAME, when: always, expire_in: 1 week, reports: {junit: r.xml, dotenv: [a.env]}}
  environment: {name: production, url: https://example.org, action: start}
  services: [postgres, {name: redis, alias: cache}]
  cache: {key: k, paths: [.cache], policy: pull}
  coverage: '/\\d+%/'
  id_tokens: {TOKEN: {aud: [https://a, https://b]}}
  resource_group: production
  interruptible: true
  tags: [$KIND, shell]
  variables: {KIND: fast}
";
    let job = one(text);
    assert_eq!(job.when, When::Delayed(1_800));
    assert!(job.allow_failure.covers(Some(77)) && !job.allow_failure.covers(Some(2)) && !job.allow_failure.covers(None));
    assert!(job.retry.again(1, "runner_system_failure", None) && job.retry.again(0, "script_failure", Some(137)));
    assert!(!job.retry.again(0, "script_failure", Some(1)) && !job.retry.again(2, "runner_system_failure", None));
    let artifacts = job.artifacts.unwrap();
    assert_eq!((artifacts.when, artifacts.expire_in.as_deref()), (ArtifactsWhen::Always, Some("1 week")));
    assert_eq!(artifacts.reports["junit"], ["r.xml"]);
    assert_eq!(job.environment.unwrap().name, "production");
    assert_eq!(job.services[1].alias.as_deref(), Some("cache"));
    assert_eq!((job.cache[0].policy.as_str(), job.coverage.as_deref()), ("pull", Some("\\d+%")));
    assert_eq!(job.id_tokens["TOKEN"].len(), 2);
    assert_eq!((job.tags, job.resource_group.as_deref()), (vec!["fast".to_owned(), "shell".to_owned()], Some("production")));
}

#[test]
fn a_manual_job_may_fail_unless_it_says_otherwise() {
    assert!(one("a: {script: a, when: manual}").allow_failure.always);
    assert_eq!(one("a: {script: a, when: manual, allow_failure: false}").allow_failure, AllowFailure::default());
    assert!(!one("a: {script: a, rules: [{when: manual}]}").allow_failure.always);
}

#[test]
fn a_job_may_start_another_pipeline() {
    let made = jobs("a: {trigger: group/other}\nb: {trigger: {include: [{local: /child.yml}], strategy: depend}}", &push("main"));
    assert_eq!(made[0].trigger.as_ref().unwrap().target, TriggerTarget::Project { path: "group/other".to_owned(), branch: None });
    let child = made[1].trigger.as_ref().unwrap();
    assert_eq!((&child.target, child.depend), (&TriggerTarget::Files(vec!["child.yml".to_owned()]), true));
}

#[test]
fn local_files_are_included_under_the_file_that_names_them() {
    let file = |path: &str| match path {
        "ci/base.yml" => Some("include: ci/deep.yml\n.base: {script: base, tags: [old]}\nstages: [one]\n".to_owned()),
        "ci/deep.yml" => Some("deep: {script: deep, stage: one}\n".to_owned()),
        _ => None,
    };
    let inputs = BTreeMap::new();
    let sources = Sources { file: Some(&file), inputs: &inputs };
    let text = "include: [{local: /ci/base.yml}]\njob: {extends: .base, stage: one}\n.base: {tags: [new]}\n";
    let made = Definition::parse_with(text, sources).unwrap().pipeline(&push("main")).unwrap();
    assert_eq!(made.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["deep", "job"]);
    assert_eq!((made[1].tags.clone(), made[1].script.clone()), (vec!["new".to_owned()], vec!["base".to_owned()]));
    let missing = Definition::parse_with("include: gone.yml\na: {script: a}", sources).unwrap_err().to_string();
    assert_eq!(missing, "Local file `gone.yml` does not exist!");
    let itself = |_: &str| Some("include: again.yml\n".to_owned());
    let endless = Definition::parse_with("include: again.yml", Sources { file: Some(&itself), inputs: &inputs }).unwrap_err().to_string();
    assert!(endless.contains("Maximum of 150 nested includes"), "{endless}");
    assert!(mistake("include: a.yml\na: {script: a}").contains("was given no files"));
    assert!(mistake("include: {remote: 'https://example.org/a.yml'}\na: {script: a}").contains("`remote`"));
}

#[test]
fn inputs_are_put_in_with_their_type() {
    let text = "
spec:
  inputs:
    stage: {default: build}
    count: {type: number, default: 2}
    name: {options: [one, two]}
---
$[[ inputs.name ]]-job:
  stage: $[[ inputs.stage ]]
  parallel: $[[ inputs.count ]]
  script: 'echo $[[ inputs.name ]]!'
";
    let inputs = BTreeMap::from([("name".to_owned(), serde_json::json!("two"))]);
    let made = Definition::parse_with(text, Sources { file: None, inputs: &inputs }).unwrap().pipeline(&push("main")).unwrap();
    assert_eq!((made[1].name.as_str(), made[1].script[0].as_str()), ("two-job 2/2", "echo two!"));
    assert_eq!(mistake(text), "`name` input: required value has not been provided");
}
