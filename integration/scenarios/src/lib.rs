//! A whole Signalbox for scenarios: the services as processes of their own, with TLS and real tokens, git over HTTP, hosts
//! with OpenSSH, builds in their sandbox.
//!
//! A scenario reads as a story: given a [`World`], when something is asked of it, then this comes of it. It waits for
//! states, never for times, and at its end [`World::close`] fails it if anything is left over.

mod authority;
mod binary;
mod debian;
mod front;
mod gerrit;
mod gitlab;
mod missing;
mod options;
mod origins;
mod relay;
mod review;
mod runner;
mod search;
mod services;
mod team;
mod words;
mod world;

pub use binary::program;
pub use debian::hello_source;
pub use front::Front;
pub use gerrit::{Account, Gerrit, Said};
pub use gitlab::{GROUP, Gitlab, Pipeline};
pub use missing::has;
pub use options::WorldOptions;
pub use relay::{Delivered, Losses, Relay};
pub use review::{Change, Workspace};
pub use search::{Planted, Watch, files, leaks_in_files, leaks_in_texts};
pub use services::{ALL as SERVICES, Services};
pub use team::{Proposed, Shown, Team, Upstream, hook};
pub use words::{State, job_file};
pub use world::World;
