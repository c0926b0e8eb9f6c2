//! A world for a configuration to be read in: arguments, variables, files, names, all given.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use holdfastd::config::{Asked, At, Config, Sources};

/// Everything that the world says.
#[derive(Default, Clone)]
pub struct World {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub files: BTreeMap<PathBuf, String>,
}

impl World {
    pub fn args(line: &str) -> World {
        World { args: line.split_whitespace().map(String::from).collect(), ..World::default() }
    }

    pub fn file(text: &str) -> World {
        World::args("--config /etc/x.toml").with_file("/etc/x.toml", text)
    }

    pub fn with_file(mut self, path: &str, text: &str) -> World {
        self.files.insert(path.into(), text.into());
        self
    }

    pub fn with_env(mut self, name: &str, value: &str) -> World {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn asked(&self) -> Result<Asked, String> {
        let read = |path: &Path| {
            self.files.get(path).cloned().ok_or(io::Error::from(io::ErrorKind::NotFound))
        };
        let resolve = |name: &str| -> Vec<IpAddr> {
            match name {
                "localhost" => vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
                "cache.example.org" => vec!["192.0.2.7".parse().unwrap()],
                _ => vec![],
            }
        };
        let sources = Sources {
            args: self.args.iter().map(Into::into).collect(),
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            read_file: &read,
            resolve: &resolve,
            cwd: "/here".into(),
            processors: 3,
            pid: 77,
        };
        Config::from_sources(&sources).map_err(|problems| problems.to_string())
    }

    pub fn config(&self) -> Config {
        match self.asked() {
            Ok(Asked::Serve(config)) => *config,
            other => panic!("{:?}: {other:?}", self.args),
        }
    }

    pub fn refused(&self) -> String {
        match self.asked() {
            Err(text) => text,
            Ok(asked) => panic!("{:?}: {asked:?}", self.args),
        }
    }

    pub fn printed(&self) -> String {
        match self.asked() {
            Ok(Asked::Print(text)) => text,
            other => panic!("{:?}: {other:?}", self.args),
        }
    }
}

pub fn run(line: &str) -> Config {
    World::args(line).config()
}

pub fn places(config: &Config) -> Vec<String> {
    let show = |at: &At| match at {
        At::Tcp(address) => address.to_string(),
        At::Unix(path, mode) => format!("{}:{mode:o}", path.display()),
    };
    config.endpoints.iter().map(|endpoint| show(&endpoint.at)).collect()
}

pub fn warnings(config: &Config) -> Vec<&str> {
    config.notes.iter().filter(|note| note.warning).map(|note| note.text.as_str()).collect()
}
