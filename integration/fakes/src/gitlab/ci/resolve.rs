//! Putting in what a definition refers to: `extends` first, then `!reference`, as GitLab does.

use super::refusal::Errors;
use super::value::{MOST_NODES, Map, Value};

/// GitLab's own limits.
const DEEPEST_EXTENDS: usize = 11;
const DEEPEST_REFERENCE: usize = 10;

/// Puts everything in.
pub(super) fn resolve(root: Map) -> Result<Map, Errors> {
    let extended = extend_all(root)?;
    let mut resolver = Resolver { root: &extended, left: MOST_NODES };
    let mut resolved = Map::new();
    for (key, value) in &extended {
        resolved.insert(key.clone(), resolver.put_in(value, 0)?);
    }
    Ok(resolved)
}

fn extend_all(root: Map) -> Result<Map, Errors> {
    if !root.values().any(|value| value.as_map().is_some_and(|map| map.contains_key("extends"))) {
        return Ok(root);
    }
    let mut left = MOST_NODES;
    let mut extended = Map::new();
    for (name, value) in &root {
        let value = match value {
            Value::Map(map) if map.contains_key("extends") => Value::Map(extend(name, map, &root, &mut Vec::new(), &mut left)?),
            other => other.clone(),
        };
        extended.insert(name.clone(), value);
    }
    Ok(extended)
}

fn extend(name: &str, job: &Map, root: &Map, path: &mut Vec<String>, left: &mut usize) -> Result<Map, Errors> {
    if path.iter().any(|passed| passed == name) {
        return Err(Errors::one(format!("{name}: circular dependency detected in `extends`")));
    }
    if path.len() >= DEEPEST_EXTENDS {
        return Err(Errors::one(format!("{name}: nesting too deep in `extends`")));
    }
    spend(left, job.len() + 1)?;
    let Some(extends) = job.get("extends").filter(|value| !value.is_null()) else { return Ok(job.clone()) };
    let bases: Vec<&str> = match extends {
        Value::Text(base) => vec![base],
        Value::List(list) => list.iter().filter_map(Value::as_text).collect(),
        _ => return Err(Errors::one(format!("jobs:{name} extends should be an array of strings or a string"))),
    };
    let unknown: Vec<&str> = bases.iter().copied().filter(|base| !root.contains_key(*base)).collect();
    if !unknown.is_empty() {
        return Err(Errors::one(format!("{name}: unknown keys in `extends` ({})", unknown.join(", "))));
    }
    path.push(name.to_owned());
    let mut merged = Map::new();
    for base in bases {
        let Some(Value::Map(map)) = root.get(base) else {
            return Err(Errors::one(format!("{name}: invalid base hashes in `extends` ({base})")));
        };
        merge(&mut merged, &extend(base, map, root, path, left)?, left)?;
    }
    path.pop();
    merge(&mut merged, job, left)?;
    Ok(merged)
}

/// Hashes are merged, everything else is replaced.
pub(super) fn merge(into: &mut Map, from: &Map, left: &mut usize) -> Result<(), Errors> {
    for (key, value) in from {
        if let (Some(Value::Map(old)), Value::Map(new)) = (into.get_mut(key), value) {
            merge(old, new, left)?;
        } else {
            spend(left, count(value))?;
            into.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

fn count(value: &Value) -> usize {
    match value {
        Value::List(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Map(map) => 1 + map.iter().map(|(key, value)| weight(key) + count(value)).sum::<usize>(),
        Value::Text(text) => 1 + weight(text),
        _ => 1,
    }
}

/// A long text weighs as much as many values: a definition that repeats one is bounded as well.
fn weight(text: &str) -> usize {
    text.len() / 64
}

fn spend(left: &mut usize, nodes: usize) -> Result<(), Errors> {
    *left = left.checked_sub(nodes).ok_or_else(|| Errors::one("The parsed YAML is too big"))?;
    Ok(())
}

struct Resolver<'a> {
    root: &'a Map,
    left: usize,
}

impl Resolver<'_> {
    fn put_in(&mut self, value: &Value, depth: usize) -> Result<Value, Errors> {
        spend(&mut self.left, 1 + value.as_text().map_or(0, weight))?;
        Ok(match value {
            Value::List(list) => Value::List(list.iter().map(|value| self.put_in(value, depth)).collect::<Result<_, _>>()?),
            Value::Map(map) => {
                let mut out = Map::new();
                for (key, value) in map {
                    out.insert(key.clone(), self.put_in(value, depth)?);
                }
                Value::Map(out)
            }
            Value::Reference(path) => {
                let shown = path.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", ");
                if depth >= DEEPEST_REFERENCE {
                    return Err(Errors::one(format!("!reference [{shown}] is part of a circular chain")));
                }
                let found = self.find(path).filter(|value| !value.is_null()).cloned();
                let found = found.ok_or_else(|| Errors::one(format!("!reference [{shown}] could not be found")))?;
                self.put_in(&found, depth + 1)?
            }
            other => other.clone(),
        })
    }

    fn find(&self, path: &[String]) -> Option<&Value> {
        let mut at = self.root.get(path.first()?)?;
        for key in &path[1..] {
            at = at.as_map()?.get(key)?;
        }
        Some(at)
    }
}
