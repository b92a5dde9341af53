//! `parallel`: one job made into several.

use super::reading::{Faults, Place, check_keys};
use super::value::{Map, Value};
use super::variable::{Variable, Variables};

/// GitLab's own limit.
const MOST_COPIES: usize = 200;

/// How a job is multiplied.
#[derive(Clone, Debug)]
pub(super) enum Copies {
    /// Not at all.
    One,
    /// So many times.
    Numbered(u32),
    /// Once for each of these sets of variables.
    Matrix(Vec<Vec<(String, String)>>),
}

/// One of the jobs that it becomes.
pub(super) struct Copy {
    pub(super) name: String,
    pub(super) variables: Variables,
    pub(super) parallel: Option<(u32, u32)>,
}

impl Copies {
    /// The jobs that a job of this name becomes.
    pub(super) fn of(&self, name: &str) -> Vec<Copy> {
        match self {
            Self::One => vec![Copy { name: name.to_owned(), variables: Variables::new(), parallel: None }],
            Self::Numbered(total) => (1..=*total)
                .map(|number| Copy {
                    name: format!("{name} {number}/{total}"),
                    variables: Variables::new(),
                    parallel: Some((number, *total)),
                })
                .collect(),
            Self::Matrix(sets) => {
                let total = u32::try_from(sets.len()).unwrap_or(u32::MAX);
                sets.iter().zip(1..).map(|(set, number)| row(name, set, (number, total))).collect()
            }
        }
    }

    /// Their names.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        self.of(name).into_iter().map(|copy| copy.name).collect()
    }
}

fn row(name: &str, set: &[(String, String)], parallel: (u32, u32)) -> Copy {
    let values: Vec<&str> = set.iter().map(|(_, value)| value.as_str()).collect();
    Copy {
        name: format!("{name}: [{}]", values.join(", ")),
        variables: set
            .iter()
            .map(|(name, value)| (name.clone(), Variable { name: name.clone(), value: value.clone(), expand: true }))
            .collect(),
        parallel: Some(parallel),
    }
}

/// Reads `parallel:`.
pub(super) fn read(place: &Place, value: &Value, faults: &mut Faults) -> Copies {
    match value {
        Value::Integer(total @ 1..=200) => Copies::Numbered(u32::try_from(*total).unwrap_or(1)),
        Value::Map(map) => {
            check_keys(place, map, &["matrix"], faults);
            matrix(&place.inside("matrix"), map.get("matrix").unwrap_or(&Value::Null), faults)
        }
        _ => {
            faults.add(place, "config should be an integer between 1 and 200 or a hash");
            Copies::One
        }
    }
}

fn matrix(place: &Place, value: &Value, faults: &mut Faults) -> Copies {
    let Some(list) = value.as_list() else {
        faults.add(place, "config should be an array of hashes");
        return Copies::One;
    };
    let mut sets = Vec::new();
    for value in list {
        match value {
            Value::Map(map) => match product(map) {
                Some(more) => sets.extend(more),
                None => faults.add(place, "config should be a hash of key value pairs, value can be an array"),
            },
            _ => faults.add(place, "config should be an array of hashes"),
        }
        if sets.len() > MOST_COPIES {
            faults.add(place, &format!("config generates too many jobs (maximum is {MOST_COPIES})"));
            return Copies::One;
        }
    }
    if sets.is_empty() {
        faults.add(place, "config can't be blank");
        return Copies::One;
    }
    Copies::Matrix(sets)
}

/// Each value with each of the others; the last variable changes fastest. It stops growing once it is too large.
fn product(map: &Map) -> Option<Vec<Vec<(String, String)>>> {
    let mut sets = vec![Vec::new()];
    for (name, value) in map {
        let values: Vec<String> = match value {
            Value::List(list) => list.iter().map(plain).collect::<Option<_>>()?,
            one => vec![plain(one)?],
        };
        sets = sets
            .iter()
            .flat_map(|set: &Vec<(String, String)>| {
                values.iter().map(move |value| {
                    let mut set = set.clone();
                    set.push((name.clone(), value.clone()));
                    set
                })
            })
            .take(MOST_COPIES + 1)
            .collect();
    }
    Some(sets)
}

fn plain(value: &Value) -> Option<String> {
    matches!(value, Value::Text(_) | Value::Integer(_)).then(|| value.to_string())
}
