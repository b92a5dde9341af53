//! What a wrong definition is told.

use super::mistake;
use crate::gitlab::ci::{Definition, expand};

#[test]
fn mistakes_are_named_in_words_that_users_know() {
    for (text, expected) in [
        ("build: {stage: test}", "jobs:build config should implement a script: or a trigger: keyword"),
        ("build: {script: a}\nextra: 3", "root config contains unknown keys: extra"),
        (".hidden: {script: a}", "jobs config should contain at least one visible job"),
        ("build: {script: a, sript: b}", "jobs:build config contains unknown keys: sript"),
        (
            "build: {script: a, stage: nowhere}",
            "build job: chosen stage nowhere does not exist; available stages are .pre, build, test, deploy, .post",
        ),
        ("build: {script: [a: b]}", "jobs:build:script config should be a string or a nested array of strings up to 10 levels deep"),
        ("build: {script: a, needs: [gone]}", "build job: undefined need: gone"),
        ("build: {script: a, dependencies: [gone]}", "build job: undefined dependency: gone"),
        (
            "a: {script: a, stage: test, needs: [b]}\nb: {script: b, stage: deploy}",
            "a job: need b is not defined in current or prior stages",
        ),
        ("a: {script: a, needs: [b]}\nb: {script: b, needs: [a]}", "The pipeline has circular dependencies"),
        ("a: {script: a, needs: [a]}", "The pipeline has circular dependencies"),
        ("a: {script: a, when: sometimes}", "jobs:a when should be one of: on_success, on_failure, always, manual, delayed"),
        ("a: {script: a, when: delayed}", "jobs:a start in should be a duration"),
        ("a: {script: a, retry: 3}", "jobs:a:retry max must be less than or equal to 2"),
        ("a: {script: a, timeout: soon}", "jobs:a timeout should be a duration"),
        ("a: {script: a, only: [main], rules: [{when: always}]}", "jobs:a config key may not be used with `rules`: only"),
        ("a: {script: a, rules: [{when: never, if: $A, foo: 1}]}", "jobs:a:rules:rule config contains unknown keys: foo"),
        ("a: {script: a, artifacts: {path: [x]}}", "jobs:a:artifacts config contains unknown keys: path"),
        ("a: {extends: .gone}", "a: unknown keys in `extends` (.gone)"),
        ("a: {extends: b}\nb: {extends: a}", "a: circular dependency detected in `extends`"),
        ("a: {script: !reference [.gone, script]}", "!reference [\".gone\", \"script\"] could not be found"),
        (".a: [!reference [.a]]\nb: {script: !reference [.a]}", "!reference [\".a\"] is part of a circular chain"),
        ("a: {trigger: x, script: y}", "jobs:a config contains unknown keys: script"),
        ("a: {script: a, variables: {X: [1]}}", "jobs:a:variables:X config variable definition must be either a string or a hash"),
        ("a: {script: a, parallel: 500}", "jobs:a:parallel config should be an integer between 1 and 200 or a hash"),
        ("- a", "Invalid configuration format"),
        ("", "Please provide content of .gitlab-ci.yml"),
    ] {
        assert_eq!(mistake(text), expected, "{text}");
    }
}

#[test]
fn what_the_fake_does_not_know_is_said_and_not_guessed() {
    for (text, named) in [
        ("a: {script: a, release: {tag_name: x}}", "jobs:a config uses `release`"),
        ("a: {script: a, secrets: {X: {}}}", "jobs:a config uses `secrets`"),
        ("a: {script: a, needs: [{project: g/p, job: b, ref: main}]}", "jobs:a:needs:need config uses `project`"),
        ("a: {script: a, rules: [{changes: {paths: [x], compare_to: main}}]}", "uses `compare_to`"),
        ("include: {template: Auto-DevOps.gitlab-ci.yml}", "uses `template`"),
        ("a: {script: !vault x}", "Unknown tag !vault"),
    ] {
        assert!(mistake(text).contains(named), "{text}: {}", mistake(text));
    }
}

#[test]
fn a_text_that_is_no_yaml_says_where() {
    let said = mistake("a:\n  script: [a\nb: c");
    assert!(said.starts_with("(<unknown>): ") && said.contains('3'), "{said}");
}

#[test]
fn a_hostile_definition_ends_soon() {
    let bomb: Vec<String> = std::iter::once("a0: &a0 [x]\n".to_owned())
        .chain((1..30).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))))
        .collect();
    assert!(Definition::parse(&bomb.concat()).is_err());
    let references: Vec<String> = std::iter::once(".a0: [x]\n".to_owned())
        .chain((1..10).map(|n| format!(".a{n}: [{}]\n", vec![format!("!reference [.a{}]", n - 1); 10].join(", "))))
        .collect();
    assert_eq!(mistake(&format!("{}job: {{script: !reference [.a9]}}", references.concat())), "The parsed YAML is too big");
    let long = "x".repeat(500_000);
    let copies = (0..2_000).map(|n| format!("j{n}: {{extends: .long}}")).collect::<Vec<_>>().join("\n");
    assert_eq!(mistake(&format!(".long: {{script: '{long}'}}\n{copies}")), "The parsed YAML is too big");
    assert!(Definition::parse(&format!("a: &a '{long}'\nb: [{}]", vec!["*a"; 5_000].join(", "))).is_err());
    assert!(Definition::parse(&"[".repeat(100_000)).is_err());
    assert!(Definition::parse(&"{a: ".repeat(100_000)).is_err());
    assert!(Definition::parse(&" ".repeat(2 << 20)).is_err());
    let axes = (0..60).map(|n| format!("V{n}: [a, b]")).collect::<Vec<_>>().join(", ");
    let wide = format!("a: {{script: a, parallel: {{matrix: [{{{axes}}}]}}}}");
    assert!(mistake(&wide).contains("too many jobs"));
}

#[test]
fn variables_are_put_in_where_they_are_known() {
    let find = |name: &str| (name == "A").then(|| "1".to_owned());
    assert_eq!(expand("$A ${A} %A% $B ${B} $$A %B% $ ${ $A1 ü$A", find), "1 1 1 $B ${B} $$A %B% $ ${ $A1 ü1");
}
