//! nginx, which takes and gives files: its PUT writes a file and renames it, and syncs nothing.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use signalbox_service::process::Running;
use signalbox_service::testing::free_port;
use tempfile::TempDir;

use super::{listening, program};

/// A server of a fresh folder: its rate falls in one from which much was deleted.
pub(crate) struct Nginx {
    folder: TempDir,
    address: SocketAddr,
    _running: Running,
}

impl Nginx {
    /// Starts one below `place`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn start(place: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir_in(place)?;
        let address = free_port();
        for name in ["www", "tmp"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let own = folder.path().display();
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let configuration = format!(
            "{user}daemon off;\nworker_processes 2;\npid {own}/nginx.pid;\nerror_log {own}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 100000000;\n  client_max_body_size 0;\n\
             \x20 client_body_temp_path {own}/tmp;\n\
             \x20 server {{\n    listen {address};\n    root {own}/www;\n    location / {{ dav_methods PUT DELETE; create_full_put_path on; }}\n  }}\n}}\n"
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, configuration)?;
        let running = program("nginx", folder.path()).arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(&path).start();
        let mut running = running.context("starting nginx")?;
        listening(address, &mut running, "nginx").await?;
        Ok(Self { folder, address, _running: running })
    }

    /// The address of a file.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The folder whose files it gives.
    pub(crate) fn files(&self) -> std::path::PathBuf {
        self.folder.path().join("www")
    }
}
