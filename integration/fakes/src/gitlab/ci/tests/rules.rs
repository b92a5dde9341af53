//! Which jobs are made for which pipeline.

use super::{jobs, merge_request, mistake, names, push, tag, variables, with};
use crate::gitlab::ci::{Context, Definition, Refusal, When};

fn holds(expression: &str) -> bool {
    let context = with(with(with(push("main"), "NAME", "hello-1.0"), "EMPTY", ""), "PATTERN", "/^hello/");
    let text = format!("always: {{script: a}}\njob:\n  script: a\n  rules:\n    - if: >-\n        {expression}\n");
    names(&text, &context).contains(&"job".to_owned())
}

#[test]
fn expressions_compare_match_and_join() {
    for (expression, expected) in [
        ("$NAME", true),
        ("$EMPTY", false),
        ("$GONE", false),
        ("$GONE == null", true),
        ("$EMPTY == null", false),
        ("$EMPTY == \"\"", true),
        ("$NAME == 'hello-1.0'", true),
        ("$NAME != 'hello-1.0'", false),
        ("$NAME =~ /^HELLO-\\d/i", true),
        ("$NAME =~ /^HELLO/", false),
        ("$NAME !~ /world/", true),
        ("$GONE =~ /./", false),
        ("$GONE !~ /./", true),
        ("$NAME =~ $PATTERN", true),
        ("$NAME =~ $GONE", false),
        ("$NAME =~ /a\\/b/", false),
        ("$GONE || $NAME", true),
        ("$GONE && $NAME || $NAME", true),
        ("$GONE && ($NAME || $NAME)", false),
        ("($NAME == \"x\" || $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH) && $CI", true),
    ] {
        assert_eq!(holds(expression), expected, "{expression}");
    }
}

#[test]
fn an_expression_that_cannot_be_read_is_a_mistake() {
    for wrong in ["$", "$A ==", "== $A", "($A", "$A)", "$A = 'x'", "\"open", "$A =~ /[/", "$A $B", "${A}", ""] {
        let text = format!("job:\n  script: a\n  rules:\n    - if: >-\n        {wrong}\n      when: always\n");
        assert!(Definition::parse(&text).is_err(), "{wrong}");
    }
    assert_eq!(mistake("job: {script: a, rules: [{if: '$A ='}]}"), "jobs:job:rules:rule if invalid expression syntax");
    let deep = format!("job: {{script: a, rules: [{{if: '{}$A{}'}}]}}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(mistake(&deep).contains("invalid expression syntax"));
}

#[test]
fn the_first_rule_that_fits_decides() {
    let text = "
a: {script: a}
job:
  script: a
  allow_failure: {exit_codes: 3}
  rules:
    - if: $CI_COMMIT_TAG
      when: never
    - if: $CI_COMMIT_BRANCH == 'main'
      when: manual
      allow_failure: true
      variables: {WHERE: production}
      needs: [a]
    - if: $CI_COMMIT_BRANCH
";
    assert_eq!(names(text, &tag("v1")), ["a"]);
    let main = jobs(text, &push("main"));
    assert_eq!((main[1].when, main[1].allow_failure.always, variables(&main[1])["WHERE"]), (When::Manual, true, "production"));
    assert_eq!(main[1].needs.as_ref().unwrap()[0].job, "a");
    let topic = jobs(text, &push("topic"));
    assert_eq!((topic[1].when, topic[1].allow_failure.exit_codes.clone()), (When::OnSuccess, vec![3]));
    assert!(topic[1].needs.is_none());
}

#[test]
fn rules_look_at_changed_and_existing_files() {
    let text = "
base: {script: a}
docs: {script: a, rules: [{changes: ['docs/**/*.md', README]}]}
rust: {script: a, rules: [{exists: ['**/Cargo.toml']}]}
named: {script: a, rules: [{changes: {paths: ['$FOLDER/*.{c,h}']}}], variables: {FOLDER: src}}
";
    let context = |changed: Option<&[&str]>, files: &[&str]| Context {
        changed: changed.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect()),
        files: files.iter().map(|path| (*path).to_owned()).collect(),
        ..push("main")
    };
    assert_eq!(names(text, &context(None, &[])), ["base", "docs", "named"], "nobody knows what changed");
    assert_eq!(names(text, &context(Some(&["docs/a/b.md"]), &["x/y/Cargo.toml"])), ["base", "docs", "rust"]);
    assert_eq!(names(text, &context(Some(&["docs.md", "src/deep/a.c"]), &["Cargo.toml2"])), ["base"]);
    assert_eq!(names(text, &context(Some(&["src/a.h"]), &["Cargo.toml"])), ["base", "rust", "named"]);
    assert_eq!(names(text, &context(Some(&[]), &[])), ["base"]);
}

#[test]
fn only_and_except_choose_refs_sources_and_variables() {
    let text = "
plain: {script: a}
main: {script: a, only: [main]}
tags: {script: a, only: [tags]}
requests: {script: a, only: [merge_requests]}
release: {script: a, only: ['/^release-.*$/']}
not: {script: a, except: [main, tags]}
elsewhere: {script: a, only: ['main@other/project']}
asked: {script: a, only: {variables: [$ASKED == 'yes']}}
api: {script: a, only: {refs: [api]}}
";
    assert_eq!(names(text, &push("main")), ["plain", "main"]);
    assert_eq!(names(text, &push("release-1")), ["plain", "release", "not"]);
    assert_eq!(names(text, &tag("v1")), ["plain", "tags"]);
    assert_eq!(names(text, &merge_request()), ["requests"]);
    assert_eq!(names(text, &with(with(push("main"), "ASKED", "yes"), "CI_PIPELINE_SOURCE", "api")), ["plain", "main", "asked", "api"]);
}

#[test]
fn the_workflow_decides_about_the_whole_pipeline() {
    let text = "
workflow:
  name: 'Build of $CI_COMMIT_BRANCH for $WHERE'
  rules:
    - if: $CI_COMMIT_TAG
      when: never
    - if: $CI_COMMIT_BRANCH == 'main'
      variables: {WHERE: production}
    - when: always
variables: {WHERE: nowhere}
job: {script: a}
requests: {script: a}
";
    let definition = Definition::parse(text).unwrap();
    assert_eq!(definition.pipeline(&tag("v1")).unwrap_err(), Refusal::Filtered);
    assert_eq!(Refusal::Filtered.to_string(), "Pipeline filtered out by workflow rules.");
    assert_eq!(variables(&definition.pipeline(&push("main")).unwrap()[0])["WHERE"], "production");
    assert_eq!(definition.name(&push("main")).unwrap(), "Build of main for production");
    assert_eq!(names(text, &merge_request()).len(), 2, "with workflow rules, merge requests are not left out");
}

#[test]
fn a_pipeline_without_jobs_is_none() {
    let text = "job: {script: a, rules: [{if: $NEVER}]}\nlast: {stage: .post, script: a}\n";
    let refusal = Definition::parse(text).unwrap().pipeline(&push("main")).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the pipeline."
    );
}

#[test]
fn a_need_that_is_not_in_the_pipeline_is_an_error_unless_it_is_optional() {
    let text = "
one: {script: a, rules: [{if: $NEVER}]}
two: {script: a, needs: [{job: one, optional: true}]}
three: {script: a, needs: [one], rules: [{if: $STRICT}]}
";
    assert_eq!(jobs(text, &push("main"))[0].needs.as_deref(), Some(&[][..]));
    let refusal = Definition::parse(text).unwrap().pipeline(&with(push("main"), "STRICT", "1")).unwrap_err().to_string();
    assert!(refusal.starts_with("'three' job needs 'one' job, but 'one' does not exist in the pipeline."), "{refusal}");
}

#[test]
fn who_starts_a_pipeline_overrides_what_the_definition_says() {
    let text = "variables: {LEVEL: low, CI_DEBUG: a}\na: {script: a}\njob: {script: a, rules: [{if: $LEVEL == 'high'}]}\n";
    assert_eq!(names(text, &push("main")), ["a"]);
    assert_eq!(names(text, &with(push("main"), "LEVEL", "high")), ["a", "job"]);
}
