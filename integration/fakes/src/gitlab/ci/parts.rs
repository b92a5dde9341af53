//! The parts of a job that have a shape of their own: artifacts, retry, environment, image, cache, trigger.

use std::collections::BTreeMap;

use super::job::{Artifacts, ArtifactsWhen, Cache, Environment, Image, Retry, Trigger, TriggerTarget};
use super::reading::{Faults, Place, bool_at, check_keys, refuse_keys, seconds, text_at, texts_at};
use super::value::{Map, Value};

const REPORTS: [&str; 26] = [
    "junit",
    "dotenv",
    "codequality",
    "sast",
    "dependency_scanning",
    "container_scanning",
    "cluster_image_scanning",
    "dast",
    "performance",
    "browser_performance",
    "load_performance",
    "license_scanning",
    "metrics",
    "lsif",
    "terraform",
    "accessibility",
    "coverage_fuzzing",
    "api_fuzzing",
    "secret_detection",
    "requirements",
    "requirements_v2",
    "cyclonedx",
    "annotations",
    "repository_xray",
    "coverage_report",
    "jacoco",
];
const RETRY_REASONS: [&str; 22] = [
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_provisioning_timeout",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "missing_dependency_failure",
    "forward_deployment_failure",
    "insufficient_bridge_permissions",
    "downstream_bridge_project_not_found",
    "invalid_bridge_trigger",
    "upstream_bridge_project_not_found",
    "user_blocked",
    "ci_quota_exceeded",
];

pub(super) fn artifacts(place: &Place, value: &Value, faults: &mut Faults) -> Option<Artifacts> {
    let map = hash(place, value, faults)?;
    let known = ["name", "untracked", "paths", "reports", "when", "expire_in", "expose_as", "exclude", "public", "access"];
    check_keys(place, map, &known, faults);
    refuse_keys(place, map, &["expose_as"], faults);
    let expire_in = text_at(place, map, "expire_in", faults);
    if expire_in.as_deref().is_some_and(|text| text != "never" && seconds(text).is_none()) {
        faults.add(place, "expire in should be a duration");
    }
    let when = match text_at(place, map, "when", faults).as_deref() {
        None | Some("on_success") => ArtifactsWhen::OnSuccess,
        Some("on_failure") => ArtifactsWhen::OnFailure,
        Some("always") => ArtifactsWhen::Always,
        Some(_) => {
            faults.add(place, "when should be one of: on_success, on_failure, always");
            ArtifactsWhen::OnSuccess
        }
    };
    Some(Artifacts {
        paths: texts_at(place, map, "paths", true, faults),
        exclude: texts_at(place, map, "exclude", true, faults),
        name: text_at(place, map, "name", faults),
        when,
        expire_in,
        untracked: bool_at(place, map, "untracked", faults).unwrap_or(false),
        reports: map
            .get("reports")
            .filter(|value| !value.is_null())
            .map(|value| reports(&place.inside("reports"), value, faults))
            .unwrap_or_default(),
    })
}

fn reports(place: &Place, value: &Value, faults: &mut Faults) -> BTreeMap<String, Vec<String>> {
    let Some(map) = hash(place, value, faults) else { return BTreeMap::new() };
    check_keys(place, map, &REPORTS, faults);
    let mut reports = BTreeMap::new();
    for (kind, value) in map {
        let paths = match value {
            Value::Map(inner) => text_at(&place.inside(kind), inner, "path", faults).into_iter().collect(),
            _ => texts_at(place, map, kind, false, faults),
        };
        reports.insert(kind.clone(), paths);
    }
    reports
}

pub(super) fn retry(place: &Place, value: &Value, faults: &mut Faults) -> Retry {
    let empty = Map::new();
    let (max, map) = match value {
        Value::Integer(_) => (Some(value), &empty),
        Value::Map(map) => {
            check_keys(place, map, &["max", "when", "exit_codes"], faults);
            (map.get("max"), map)
        }
        _ => {
            faults.add(place, "config has to be either an integer or a hash");
            return Retry::default();
        }
    };
    let max = match max {
        None | Some(Value::Null) => 0,
        Some(Value::Integer(max @ 0..=2)) => u32::try_from(*max).unwrap_or_default(),
        Some(_) => {
            faults.add(place, "max must be less than or equal to 2");
            0
        }
    };
    let when = texts_at(place, map, "when", false, faults);
    if let Some(unknown) = when.iter().find(|reason| !RETRY_REASONS.contains(&reason.as_str())) {
        faults.add(place, &format!("when contains unknown values: {unknown}"));
    }
    Retry { max, when, exit_codes: exit_codes(place, map, faults) }
}

/// `exit_codes`: a number or a list of numbers.
pub(super) fn exit_codes(place: &Place, map: &Map, faults: &mut Faults) -> Vec<i64> {
    let codes = match map.get("exit_codes") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Integer(code)) => Some(vec![*code]),
        Some(Value::List(list)) => list.iter().map(|code| if let Value::Integer(code) = code { Some(*code) } else { None }).collect(),
        Some(_) => None,
    };
    codes.unwrap_or_else(|| {
        faults.add(place, "exit codes should be an array of integers or an integer");
        Vec::new()
    })
}

pub(super) fn environment(place: &Place, value: &Value, faults: &mut Faults) -> Option<Environment> {
    if let Value::Text(name) = value {
        return Some(Environment { name: name.clone(), url: None, action: "start".to_owned(), on_stop: None, deployment_tier: None });
    }
    let map = hash(place, value, faults)?;
    check_keys(place, map, &["name", "url", "action", "on_stop", "auto_stop_in", "kubernetes", "deployment_tier"], faults);
    refuse_keys(place, map, &["auto_stop_in", "kubernetes"], faults);
    let action = text_at(place, map, "action", faults).unwrap_or_else(|| "start".to_owned());
    if !["start", "stop", "prepare", "verify", "access"].contains(&action.as_str()) {
        faults.add(place, "action should be start, stop, prepare, verify, or access");
    }
    let Some(name) = text_at(place, map, "name", faults).filter(|name| !name.is_empty()) else {
        faults.add(place, "name can't be blank");
        return None;
    };
    Some(Environment {
        name,
        url: text_at(place, map, "url", faults),
        action,
        on_stop: text_at(place, map, "on_stop", faults),
        deployment_tier: text_at(place, map, "deployment_tier", faults),
    })
}

pub(super) fn image(place: &Place, value: &Value, faults: &mut Faults) -> Option<Image> {
    if let Value::Text(name) = value {
        return Some(Image { name: name.clone(), entrypoint: Vec::new(), command: Vec::new(), alias: None, pull_policy: Vec::new() });
    }
    let map = hash(place, value, faults)?;
    check_keys(
        place,
        map,
        &["name", "entrypoint", "command", "alias", "pull_policy", "docker", "kubernetes", "ports", "variables"],
        faults,
    );
    refuse_keys(place, map, &["docker", "kubernetes", "ports", "variables"], faults);
    let Some(name) = text_at(place, map, "name", faults) else {
        faults.add(place, "name can't be blank");
        return None;
    };
    Some(Image {
        name,
        entrypoint: texts_at(place, map, "entrypoint", true, faults),
        command: texts_at(place, map, "command", true, faults),
        alias: text_at(place, map, "alias", faults),
        pull_policy: texts_at(place, map, "pull_policy", false, faults),
    })
}

pub(super) fn services(place: &Place, value: &Value, faults: &mut Faults) -> Vec<Image> {
    let Some(list) = value.as_list() else {
        if !value.is_null() {
            faults.add(place, "config must be an array");
        }
        return Vec::new();
    };
    list.iter().filter_map(|value| image(&place.inside("service"), value, faults)).collect()
}

pub(super) fn caches(place: &Place, value: &Value, faults: &mut Faults) -> Vec<Cache> {
    let list: Vec<&Value> = match value {
        Value::List(list) => list.iter().collect(),
        one => vec![one],
    };
    if list.len() > 4 {
        faults.add(place, "config no more than 4 caches can be created");
    }
    list.into_iter().filter_map(|value| cache(place, value, faults)).collect()
}

fn cache(place: &Place, value: &Value, faults: &mut Faults) -> Option<Cache> {
    let map = hash(place, value, faults)?;
    if map.is_empty() {
        return None;
    }
    check_keys(place, map, &["key", "untracked", "paths", "when", "policy", "unprotect", "fallback_keys"], faults);
    let key = match map.get("key") {
        Some(key @ (Value::Text(_) | Value::Integer(_))) => Some(key.to_string()),
        None | Some(Value::Null) => Some("default".to_owned()),
        // A key made of files is settled by the server; the fake keeps no caches, so it needs none.
        Some(Value::Map(_)) => None,
        Some(_) => {
            faults.add(&place.inside("key"), "config should be a hash, a string or a symbol");
            None
        }
    };
    Some(Cache {
        key,
        paths: texts_at(place, map, "paths", true, faults),
        policy: text_at(place, map, "policy", faults).unwrap_or_else(|| "pull-push".to_owned()),
        untracked: bool_at(place, map, "untracked", faults).unwrap_or(false),
    })
}

pub(super) fn trigger(place: &Place, value: &Value, faults: &mut Faults) -> Option<Trigger> {
    if let Value::Text(path) = value {
        let target = TriggerTarget::Project { path: path.clone(), branch: None };
        return Some(Trigger { target, depend: false, forward_yaml_variables: true, forward_pipeline_variables: false });
    }
    let map = hash(place, value, faults)?;
    check_keys(place, map, &["project", "branch", "include", "strategy", "forward", "inputs"], faults);
    refuse_keys(place, map, &["inputs"], faults);
    let depend = match text_at(place, map, "strategy", faults).as_deref() {
        None => false,
        // `mirror` shows the other pipeline's own status; for an end that is the same.
        Some("depend" | "mirror") => true,
        Some(_) => {
            faults.add(place, "strategy should be depend or mirror");
            false
        }
    };
    let forward = map.get("forward").and_then(Value::as_map).cloned().unwrap_or_default();
    let inside = place.inside("forward");
    check_keys(&inside, &forward, &["yaml_variables", "pipeline_variables"], faults);
    let target = match (text_at(place, map, "project", faults), map.get("include")) {
        (Some(path), None) => TriggerTarget::Project { path, branch: text_at(place, map, "branch", faults) },
        (None, Some(include)) => TriggerTarget::Files(trigger_files(&place.inside("include"), include, faults)?),
        _ => {
            faults.add(place, "config must use exactly one of these keys: project, include");
            return None;
        }
    };
    Some(Trigger {
        target,
        depend,
        forward_yaml_variables: bool_at(&inside, &forward, "yaml_variables", faults).unwrap_or(true),
        forward_pipeline_variables: bool_at(&inside, &forward, "pipeline_variables", faults).unwrap_or(false),
    })
}

fn trigger_files(place: &Place, value: &Value, faults: &mut Faults) -> Option<Vec<String>> {
    let list: Vec<&Value> = match value {
        Value::List(list) => list.iter().collect(),
        one => vec![one],
    };
    let mut files = Vec::new();
    for value in list {
        match value {
            Value::Text(path) if !path.contains("://") => files.push(path.trim_start_matches('/').to_owned()),
            Value::Map(map) if map.keys().all(|key| key == "local") => {
                files.extend(text_at(place, map, "local", faults).map(|path| path.trim_start_matches('/').to_owned()));
            }
            _ => {
                faults.unsupported(place, "something other than `local` files");
                return None;
            }
        }
    }
    Some(files)
}

fn hash<'a>(place: &Place, value: &'a Value, faults: &mut Faults) -> Option<&'a Map> {
    let map = value.as_map();
    if map.is_none() {
        faults.add(place, "config should be a hash");
    }
    map
}
