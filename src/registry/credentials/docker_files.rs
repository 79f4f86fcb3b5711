//! The files of docker and podman on this host. They are read at each use, so that a changed one counts at once: it is
//! a small file, and it is needed once for each token.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::io::AsyncReadExt;

use crate::model::{Credentials, Repository};

use super::Environment;
use super::docker_file::{DockerFile, Hint};
use super::helper::Helper;
use super::lease::{Lease, Renewed, Source};

/// Docker's own file is a few kilobytes.
const LARGEST: u64 = 1 << 20;

/// A helper that has nothing is told apart from one that fails by these words.
const NONE: &str = "none";

/// The files, and the helpers that they name.
#[derive(Debug)]
pub(super) struct DockerFiles {
    paths: Vec<PathBuf>,
    /// By the helper and the server that it is asked for.
    helpers: Mutex<HashMap<(String, String), Arc<Renewed>>>,
}

/// Where docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(super) fn dockers_own(environment: &Environment) -> Option<PathBuf> {
    let directory = environment.path("DOCKER_CONFIG").or_else(|| environment.home(".docker"))?;
    Some(directory.join("config.json"))
}

/// All of them: the one that is named for this purpose, docker's, and those of podman.
fn places(environment: &Environment) -> Vec<PathBuf> {
    let configuration = environment.path("XDG_CONFIG_HOME").or_else(|| environment.home(".config"));
    let podmans = |directory: PathBuf| directory.join("containers/auth.json");
    let all = [
        environment.path("REGISTRY_AUTH_FILE"),
        dockers_own(environment),
        environment.path("XDG_RUNTIME_DIR").map(podmans),
        configuration.map(podmans),
    ];
    all.into_iter().flatten().collect()
}

impl DockerFiles {
    /// `only`: this file and no other.
    pub(super) fn new(only: Option<&Path>, environment: &Environment) -> Self {
        let paths = only.map_or_else(|| places(environment), |path| vec![path.to_owned()]);
        Self { paths, helpers: Mutex::default() }
    }

    /// What the first file has that knows the repository. A problem counts only when none does.
    pub(super) async fn find(&self, repository: &Repository) -> Result<Option<Credentials>, String> {
        let mut problem = None;
        for path in &self.paths {
            let found = match read(path).await {
                Ok(None) => continue,
                Ok(Some(file)) => self.ask(&file, path, repository).await,
                Err(why) => Err(why),
            };
            match found {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(Some(found)),
                Err(why) => problem = problem.or(Some(why)),
            }
        }
        problem.map_or(Ok(None), Err)
    }

    async fn ask(
        &self,
        file: &DockerFile,
        path: &Path,
        repository: &Repository,
    ) -> Result<Option<Credentials>, String> {
        let mut problem = None;
        for hint in file.hints(repository) {
            let found = match hint {
                Hint::Written { key } => file.written(key, &path.display().to_string()),
                Hint::Helper { suffix, server } => self.helper(suffix, &server).get().await,
            };
            match found {
                Ok(found) => return Ok(Some(found)),
                Err(why) if why == NONE => {}
                Err(why) => problem = problem.or(Some(why)),
            }
        }
        problem.map_or(Ok(None), Err)
    }

    fn helper(&self, suffix: &str, server: &str) -> Arc<Renewed> {
        let mut helpers = self.helpers.lock().expect("no holder panics");
        let key = (suffix.to_owned(), server.to_owned());
        let source = || Keeper { helper: Helper::named(suffix), server: server.to_owned() };
        helpers.entry(key).or_insert_with(|| Arc::new(Renewed::new(Box::new(source())))).clone()
    }

    /// What they said was refused. Files are looked at each time anyway.
    pub(super) async fn doubt(&self) {
        let helpers: Vec<_> = self.helpers.lock().expect("no holder panics").values().cloned().collect();
        for helper in helpers {
            helper.doubt().await;
        }
    }
}

/// A helper that is asked for one server.
#[derive(Debug)]
struct Keeper {
    helper: Helper,
    server: String,
}

#[async_trait]
impl Source for Keeper {
    async fn ask(&self) -> Result<Lease, String> {
        self.helper.get(&self.server).await?.ok_or_else(|| NONE.to_owned())
    }
}

/// `None`: there is no such file.
async fn read(path: &Path) -> Result<Option<DockerFile>, String> {
    let place = path.display();
    let failed = |error: std::io::Error| format!("{place} can't be read: {error}");
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{place} is larger than {LARGEST} bytes and none of docker's"));
    }
    DockerFile::parse(&bytes).map(Some).map_err(|why| format!("{place} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    fn environment(dir: &Path, names: &[(&str, &str)]) -> Environment {
        let map: HashMap<String, String> =
            names.iter().map(|(name, below)| ((*name).to_owned(), dir.join(below).display().to_string())).collect();
        Environment::new(move |name| map.get(name).cloned())
    }

    fn write(path: &Path, user: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = json!({"auths": {"a.io": {"username": user, "password": "s3cret"}}});
        std::fs::write(path, file.to_string()).unwrap();
    }

    async fn user(files: &DockerFiles) -> Option<String> {
        files.find(&"a.io/x".parse().unwrap()).await.unwrap().map(|found| found.username)
    }

    #[tokio::test]
    async fn each_place_of_docker_and_podman_is_looked_into_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let all = [
            ("REGISTRY_AUTH_FILE", "named.json"),
            ("DOCKER_CONFIG", "docker"),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_CONFIG_HOME", "xdg"),
            ("HOME", "home"),
        ];
        let files = DockerFiles::new(None, &environment(dir.path(), &all));
        assert_eq!(user(&files).await, None);
        // From the last to the first: each one is found before those after it.
        for place in ["xdg/containers/auth.json", "run/containers/auth.json", "docker/config.json", "named.json"] {
            write(&dir.path().join(place), place);
            assert_eq!(user(&files).await.as_deref(), Some(place));
        }
        let home = DockerFiles::new(None, &environment(dir.path(), &[("HOME", "home")]));
        for place in ["home/.config/containers/auth.json", "home/.docker/config.json"] {
            write(&dir.path().join(place), place);
            assert_eq!(user(&home).await.as_deref(), Some(place));
        }
        let only = DockerFiles::new(Some(Path::new("/nowhere")), &environment(dir.path(), &all));
        assert_eq!(user(&only).await, None);
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again_and_one_that_is_broken_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let names = [("DOCKER_CONFIG", "docker"), ("XDG_RUNTIME_DIR", "run")];
        let files = DockerFiles::new(None, &environment(dir.path(), &names));
        let path = dir.path().join("docker/config.json");
        for name in ["one", "two", "other"] {
            write(&path, name);
            assert_eq!(user(&files).await.as_deref(), Some(name));
        }
        // Replaced, as an editor or `docker login` does it.
        let new = dir.path().join("docker/new");
        write(&new, "third");
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(user(&files).await.as_deref(), Some("third"));
        std::fs::write(&path, "{\"auths\": \"s3cret").unwrap();
        let problem = files.find(&"a.io/x".parse().unwrap()).await.unwrap_err();
        assert!(problem.contains("config.json is no JSON at line 1") && !problem.contains("s3cret"), "{problem}");
        write(&dir.path().join("run/containers/auth.json"), "podman");
        assert_eq!(user(&files).await.as_deref(), Some("podman"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(user(&files).await.as_deref(), Some("podman"));
    }

    #[tokio::test]
    async fn a_helper_that_is_missing_is_told_unless_something_is_written_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let files = DockerFiles::new(Some(&path), &environment(dir.path(), &[]));
        for (config, found) in [
            (json!({"credsStore": "of-nobody"}), None),
            (json!({"credHelpers": {"a.io": "of-nobody"}}), None),
            (json!({"credsStore": "of-nobody", "auths": {"a.io": {"username": "u", "password": "p"}}}), Some("p")),
        ] {
            std::fs::write(&path, config.to_string()).unwrap();
            match files.find(&"a.io/x".parse().unwrap()).await {
                Ok(credentials) => {
                    assert_eq!(credentials.map(|c| c.secret.expose_secret().to_owned()).as_deref(), found)
                }
                Err(problem) => {
                    assert!(
                        found.is_none() && problem.contains("docker-credential-of-nobody can't be run"),
                        "{problem}"
                    );
                }
            }
        }
    }
}
