//! Results of many processes, put together.
//!
//! `cargo test` runs each target in a process of its own and tells nobody when the last one ends. So each process
//! stores what it found as a file of its own, a *fragment*, and whoever wants the whole merges what is there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::environment::fnv1a;
use crate::results::{Results, SCHEMA};
use crate::{html, markdown};

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error(
        "cannot {verb} {}: {source}. Make its directory one that can be written, or name another one in \
         STANCHION_REPORT_DIR",
        path.display()
    )]
    Io {
        /// What was tried: "write", "read".
        verb: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The results hold a number that JSON has no word for (infinite, or not a number), so nothing could read
    /// them back. Nothing was written.
    #[error("fragment {name:?} would not be readable: {source}; a value in it is not finite")]
    NotReadable {
        /// The fragment.
        name: String,
        /// What the reader said.
        source: serde_json::Error,
    },
}

/// A file among the fragments that is not one. It is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name in the directory of the fragments.
    pub file: String,
    /// Why it was not merged.
    pub reason: String,
}

/// The results of every fragment, and what was passed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// Everything that was found.
    pub results: Results,
    /// Files that are not fragments, sorted by name.
    pub skipped: Vec<Skipped>,
}

/// What [`render`] wrote.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// What the pages were drawn from.
    pub merged: Merged,
    /// The machine-readable whole.
    pub json: PathBuf,
    /// The page.
    pub html: PathBuf,
    /// The summary for a pull request.
    pub markdown: PathBuf,
}

/// Where reports go: `STANCHION_REPORT_DIR`, else `stanchion` in Cargo's target directory (found by the tag that
/// Cargo puts there, because tests run in their package's directory), else `target/stanchion`.
pub fn directory() -> PathBuf {
    if let Some(chosen) = std::env::var_os("STANCHION_REPORT_DIR").filter(|value| !value.is_empty()) {
        return chosen.into();
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let target = executable.ancestors().skip(1).find(|ancestor| ancestor.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(Path::new("target")).join("stanchion")
}

/// Stores one fragment under `directory` and returns its path. `name` is what distinguishes it from every other
/// process's fragment, as in "conformance" or "duel"; the fragment of the same name is replaced as a whole.
///
/// Known private directories (home, current, temporary) are replaced by `~`, `.` and `$TMPDIR` in every text.
///
/// The file appears at once or not at all: it is written beside its place and renamed.
pub fn write(directory: &Path, name: &str, results: &Results) -> Result<PathBuf, Error> {
    let not_readable = |source| Error::NotReadable { name: name.to_owned(), source };
    let text = serde_json::to_string_pretty(results).map_err(not_readable)?;
    let text = scrub(text, &private_directories());
    serde_json::from_str::<Results>(&text).map_err(not_readable)?;
    let path = fragments(directory).join(format!("{}.json", file_stem(name)));
    replace(&path, text.as_bytes())?;
    Ok(path)
}

/// Merges the fragments under `directory` in the order in which their runs started (then by file name). An entry
/// replaces an earlier one of the same key. What cannot be read as a fragment is named in the answer, and neither
/// changed nor deleted. A directory that does not exist holds nothing.
pub fn merge(directory: &Path) -> Result<Merged, Error> {
    let folder = fragments(directory);
    let read = |source| Error::Io { verb: "read", path: folder.clone(), source };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Merged::default()),
        Err(error) => return Err(read(error)),
    };
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    for entry in entries {
        let entry = entry.map_err(read)?;
        let file = entry.file_name().to_string_lossy().into_owned();
        match load(&entry.path()) {
            Ok(results) => {
                let started = results.runs.iter().map(|run| run.started_unix_ms).max();
                found.push((started, file, results));
            }
            Err(reason) => skipped.push(Skipped { file, reason }),
        }
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    skipped.sort_by(|a, b| a.file.cmp(&b.file));
    let mut results = Results::default();
    for (_, _, fragment) in found {
        results.absorb(fragment);
    }
    Ok(Merged { results, skipped })
}

/// Merges the fragments under `directory` and writes `results.json`, `report.html` and `summary.md` there.
pub fn render(directory: &Path) -> Result<Rendered, Error> {
    let merged = merge(directory)?;
    let (json, html, markdown) =
        (directory.join("results.json"), directory.join("report.html"), directory.join("summary.md"));
    let text = serde_json::to_string_pretty(&merged.results)
        .map_err(|source| Error::NotReadable { name: "results".into(), source })?;
    replace(&json, text.as_bytes())?;
    replace(&html, html::page(&merged).as_bytes())?;
    replace(&markdown, markdown::summary(&merged).as_bytes())?;
    Ok(Rendered { merged, json, html, markdown })
}

fn fragments(directory: &Path) -> PathBuf {
    directory.join("fragments")
}

fn load(path: &Path) -> Result<Results, String> {
    if !path.is_file() {
        return Err("not a file".into());
    }
    if path.extension().is_none_or(|extension| extension != "json") {
        return Err("not a fragment: its name does not end in .json".into());
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        None => Err("not a fragment: it has no schema".into()),
        Some(schema) if schema != u64::from(SCHEMA) => Err(format!(
            "it follows schema {schema}; this version reads schema {SCHEMA}. Move it away, and run again what \
                 wrote it"
        )),
        Some(_) => serde_json::from_value(value).map_err(|error| format!("not a fragment: {error}")),
    }
}

/// A readable file name, with a hash where characters had to go, so that two names never share a file.
fn file_stem(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let stem: String = name.chars().take(80).map(|c| if plain(c) { c } else { '-' }).collect();
    if stem == name && !stem.is_empty() { stem } else { format!("{stem}.{:016x}", fnv1a(name.as_bytes())) }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let io = |verb: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { verb, path, source }
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let beside = path.with_extension(format!("{}.unfinished", std::process::id()));
    let written = fs::File::create(&beside).and_then(|mut file| file.write_all(bytes));
    written.and_then(|()| fs::rename(&beside, path)).map_err(|source| {
        // The rest of a failed write is ours, and of no use to anyone.
        let _ = fs::remove_file(&beside);
        Error::Io { verb: "write", path: path.to_owned(), source }
    })
}

/// Directories whose paths tell who ran it, longest first, with what stands for them.
fn private_directories() -> Vec<(String, &'static str)> {
    let mut known: Vec<(String, &'static str)> = [
        (std::env::current_dir().ok(), "."),
        (Some(std::env::temp_dir()), "$TMPDIR"),
        (std::env::var_os("HOME").map(PathBuf::from), "~"),
    ]
    .into_iter()
    .filter_map(|(path, stand_in)| Some((path?.to_str()?.trim_end_matches('/').to_owned(), stand_in)))
    .filter(|(path, _)| path.len() > 1 && path.starts_with('/'))
    .collect();
    known.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    known
}

fn scrub(text: String, private: &[(String, &str)]) -> String {
    private.iter().fold(text, |text, (path, stand_in)| {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(path.as_str()) {
            let (before, after) = (&rest[..at], &rest[at + path.len()..]);
            // "/home/ann" is private, a part of "/home/anna" or of "x/home/ann" is another path.
            let boundary = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || "-_.".contains(c)));
            clean.push_str(before);
            let whole = boundary(before.chars().next_back().or(clean.chars().next_back()))
                && boundary(after.chars().next());
            clean.push_str(if whole { stand_in } else { path });
            rest = after;
        }
        clean.push_str(rest);
        clean
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_readable_and_never_collide() {
        assert_eq!(file_stem("conformance"), "conformance");
        assert!(file_stem("ring::no_loss").starts_with("ring--no_loss."));
        assert_ne!(file_stem("ring::no_loss"), file_stem("ring--no_loss"));
        assert_ne!(file_stem("../x"), file_stem(".._x"));
        assert!(!file_stem("../../etc/x").contains('/'));
        assert!(!file_stem("").is_empty());
    }

    #[test]
    fn private_directories_are_replaced_where_they_stand_as_whole_names() {
        let private = [("/home/ann/work".to_owned(), "."), ("/home/ann".to_owned(), "~")];
        let text =
            r#"["/home/ann/work/target/x","/home/ann","/home/anna","/mnt/home/annex","at /home/ann: no"]"#;
        let clean = r#"["./target/x","~","/home/anna","/mnt/home/annex","at ~: no"]"#;
        assert_eq!(scrub(text.to_owned(), &private), clean);
    }
}
