//! `needs`: the jobs that a job waits for, instead of for all stages before its own.

use super::job::Need;
use super::reading::{Faults, Place, bool_at, check_keys, flatten, refuse_keys, text_at};
use super::value::{Map, Value};

/// GitLab's own limit.
const MOST_NEEDS: usize = 50;

/// Reads `needs:`.
pub(super) fn read(place: &Place, value: &Value, faults: &mut Faults) -> Vec<Need> {
    let list: Vec<&Value> = match value {
        Value::List(list) => flatten(list, 0),
        Value::Map(_) => vec![value],
        _ => {
            faults.add(place, "config can only be a hash or an array");
            return Vec::new();
        }
    };
    if list.len() > MOST_NEEDS {
        faults.add(place, &format!("one job can only need {MOST_NEEDS} others, but you have listed {}", list.len()));
        return Vec::new();
    }
    let place = place.inside("need");
    list.into_iter().filter_map(|value| read_one(&place, value, faults)).collect()
}

fn read_one(place: &Place, value: &Value, faults: &mut Faults) -> Option<Need> {
    match value {
        Value::Text(job) => Some(Need { job: job.clone(), artifacts: true, optional: false }),
        Value::Map(map) => read_map(place, map, faults),
        _ => {
            faults.add(place, "config should be a string or a hash");
            None
        }
    }
}

fn read_map(place: &Place, map: &Map, faults: &mut Faults) -> Option<Need> {
    check_keys(place, map, &["job", "artifacts", "optional", "parallel", "pipeline", "project", "ref"], faults);
    refuse_keys(place, map, &["parallel", "pipeline", "project"], faults);
    let Some(job) = text_at(place, map, "job", faults) else {
        if !map.contains_key("pipeline") {
            faults.add(place, "job can't be blank");
        }
        return None;
    };
    let artifacts = bool_at(place, map, "artifacts", faults).unwrap_or(true);
    let optional = bool_at(place, map, "optional", faults).unwrap_or(false);
    Some(Need { job, artifacts, optional })
}
