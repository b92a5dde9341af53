//! `signalbox environments`.

use anyhow::Result;
use signalbox_contract::EnvironmentName;
use signalbox_contract::api::Page;
use signalbox_contract::api::deploy::EnvironmentInfo;

use crate::connection::{Connection, path, with_query};
use crate::output::{Output, harmless, minute, table};

/// `GET /environments`, or `GET /environments/{name}`.
pub(crate) async fn environments(connection: &Connection, name: Option<EnvironmentName>, output: Output) -> Result<u8> {
    match name {
        None => {
            let mut all: Page<EnvironmentInfo> = connection.get("/environments?limit=200").await?;
            while let Some(after) = all.next.take() {
                let query = [("cursor", Some(after.clone())), ("limit", Some("200".to_owned()))];
                let page: Page<EnvironmentInfo> = connection.get(&with_query("/environments", query)).await?;
                all.items.extend(page.items);
                all.next = page.next.filter(|next| *next > after);
            }
            output.show(&all, |all| {
                if all.items.is_empty() {
                    return "no environments; the deployment worker's configuration defines them".to_owned();
                }
                table(["ENVIRONMENT", "HOSTS"], all.items.iter().map(|one| [one.name.to_string(), hosts(one)]))
            })?;
        }
        Some(name) => {
            let path = path(["environments", name.as_str()]);
            let mut one: EnvironmentInfo = connection.get(&with_query(&path, [("limit", Some("200".to_owned()))])).await?;
            while let Some(after) = one.next.take() {
                let query = [("cursor", Some(after.to_string())), ("limit", Some("200".to_owned()))];
                let page: EnvironmentInfo = connection.get(&with_query(&path, query)).await?;
                one.shown.extend(page.shown);
                one.next = page.next.filter(|next| *next > after);
            }
            output.show(&one, |one| shown(one, output))?;
        }
    }
    Ok(0)
}

fn hosts(environment: &EnvironmentInfo) -> String {
    environment.hosts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}

/// What each host shows.
fn shown(environment: &EnvironmentInfo, output: Output) -> String {
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
            // To go back to one of them its whole digest is needed.
            let kept = if output.wide {
                release.kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            } else {
                release.kept.len().to_string()
            };
            named([release.name.to_string(), output.digest(&release.digest), minute(release.since), release.run.to_string(), kept])
        }));
        rows
    });
    let text = table(["HOST", "SHOWS", "DIGEST", "SINCE (UTC)", "BY RUN", "KEPT"], rows);
    harmless(&format!("environment {}, hosts {}\n{text}", environment.name, hosts(environment)))
}
