//! `signalbox environments`.

use anyhow::Result;
use signalbox_contract::EnvironmentName;
use signalbox_contract::api::deploy::EnvironmentInfo;
use signalbox_contract::api::run::Environments;

use crate::connection::{Connection, path};
use crate::output::{Output, harmless, moment, table};

/// `GET /environments`, or `GET /environments/{name}`.
pub(crate) async fn environments(connection: &Connection, name: Option<EnvironmentName>, output: Output) -> Result<u8> {
    match name {
        None => {
            let all: Environments = connection.get("/environments").await?;
            output.show(&all, |all| {
                if all.environments.is_empty() {
                    return "no environments; the deployment worker's configuration defines them".to_owned();
                }
                table(["ENVIRONMENT", "HOSTS"], all.environments.iter().map(|one| [one.name.to_string(), hosts(one)]))
            })?;
        }
        Some(name) => {
            let one: EnvironmentInfo = connection.get(&path(["environments", name.as_str()])).await?;
            output.show(&one, shown)?;
        }
    }
    Ok(0)
}

fn hosts(environment: &EnvironmentInfo) -> String {
    environment.hosts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}

/// What each host shows.
fn shown(environment: &EnvironmentInfo) -> String {
    let rows = environment.shown.iter().flat_map(|host| {
        let named = |words: [String; 5]| {
            let [name, digest, since, run, kept] = words;
            [host.host.to_string(), name, digest, since, run, kept]
        };
        let silent = match &host.failure {
            Some(failure) => Some(failure.to_string()),
            None if host.releases.is_empty() => Some("nothing yet".to_owned()),
            None => None,
        };
        let mut rows: Vec<[String; 6]> =
            silent.into_iter().map(|words| named([words, String::new(), String::new(), String::new(), String::new()])).collect();
        rows.extend(host.releases.iter().map(|release| {
            let kept = release.kept.len().to_string();
            named([release.name.to_string(), release.digest.to_string(), moment(release.since), release.run.to_string(), kept])
        }));
        rows
    });
    let text = table(["HOST", "SHOWS", "DIGEST", "SINCE (UTC)", "BY RUN", "KEPT"], rows);
    harmless(&format!("environment {}, hosts {}\n{text}", environment.name, hosts(environment)))
}
