//! Failing plans are kept: as readable JSON, one file per queue, promise and case, replayed before anything
//! new is tried. A file is written before shrinking starts, so that an interrupted run loses nothing, and
//! replaced by its smaller form afterwards. No file is ever deleted here, and none is passed over in silence.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::consumers::ConsumerPlan;
use crate::engines::{images, sequential_buffer, simulated};
use crate::invariant::Invariant;
use crate::plan::{Plan, fnv1a};
use crate::shrink::Shrink;

/// The version of the format that is written and read.
pub const FORMAT: u64 = 2;

const FIND_AGAIN: &str =
    "run the version that wrote it, or find the failure again with the seed in the file and delete it";

/// A plan of one of the engines that can run the same plan again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedPlan {
    /// For a broker, its clients one after another.
    Broker(Plan),
    /// For a broker, its clients in turns.
    Simulated(simulated::Plan),
    /// For a broker, on a disk that fails it.
    Images(images::Plan),
    /// For a buffer.
    Buffer(sequential_buffer::Plan),
    /// For a consumer.
    Consumer(ConsumerPlan),
}

impl SavedPlan {
    /// The engine that runs it.
    pub fn engine(&self) -> &'static str {
        match self {
            SavedPlan::Broker(_) => Plan::ENGINE,
            SavedPlan::Simulated(_) => simulated::Plan::ENGINE,
            SavedPlan::Images(_) => images::Plan::ENGINE,
            SavedPlan::Buffer(_) => sequential_buffer::Plan::ENGINE,
            SavedPlan::Consumer(_) => ConsumerPlan::ENGINE,
        }
    }
}

/// A plan that is saved when it fails.
pub(crate) trait Keep: Shrink + Into<SavedPlan> {
    /// The engine that runs it.
    const ENGINE: &'static str;

    /// The plan, if it is of this kind.
    fn of(saved: SavedPlan) -> Option<Self>;
}

macro_rules! keep {
    ($($plan:ty, $kind:ident, $engine:literal;)*) => {
        $(impl From<$plan> for SavedPlan {
            fn from(plan: $plan) -> SavedPlan {
                SavedPlan::$kind(plan)
            }
        }

        impl Keep for $plan {
            const ENGINE: &'static str = $engine;

            fn of(saved: SavedPlan) -> Option<$plan> {
                if let SavedPlan::$kind(plan) = saved { Some(plan) } else { None }
            }
        })*
    };
}

keep! {
    Plan, Broker, "sequential";
    simulated::Plan, Simulated, "simulated";
    images::Plan, Images, "crash images";
    sequential_buffer::Plan, Buffer, "one thread";
    ConsumerPlan, Consumer, "consumer";
}

/// A plan that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// [`FORMAT`].
    pub format: u64,
    /// The queue, as it is registered.
    pub queue: String,
    /// Which promise.
    pub invariant: Invariant,
    /// How it was broken, in a sentence.
    pub sentence: String,
    /// The case that failed, from 0.
    pub case: u64,
    /// The seed that the case was generated from.
    pub seed: u64,
    /// Steps of the plan as generated.
    pub steps_before: usize,
    /// Steps of the plan below. As many as before: it was not shrunk to the end.
    pub steps_after: usize,
    /// The plan.
    pub plan: SavedPlan,
}

/// A saved plan that cannot be used, or not be saved.
#[derive(Debug, thiserror::Error)]
pub enum RegressionError {
    /// It cannot be read.
    #[error("cannot read the saved plan {}: {source}. Make it readable, or move it away", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not one.
    #[error("{} is not a saved plan: {detail}. Restore it from version control, or delete it", path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
    /// It is of another version.
    #[error(
        "the saved plan {} has format {found}, and this version reads format {FORMAT}: {}",
        path.display(),
        if *found > FORMAT { "update stanchion" } else { FIND_AGAIN }
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// What its plan says means something else by now.
    #[error(
        "the plan of {engine} in {} has version {found}, and this version runs version {now}, in which it would be \
         another plan: {}",
        path.display(),
        if found > now { "update stanchion" } else { FIND_AGAIN }
    )]
    Meaning {
        /// The file.
        path: PathBuf,
        /// The engine that ran it.
        engine: &'static str,
        /// Its version.
        found: u64,
        /// The version that is run.
        now: u64,
    },
    /// It is of a queue that is not registered.
    #[error(
        "the saved plan {} is of the queue {queue:?}, which is not registered here: register it, correct the \
         name in the file, or delete it. Registered: {known}",
        path.display()
    )]
    UnknownQueue {
        /// The file.
        path: PathBuf,
        /// The queue it names.
        queue: String,
        /// The queues there are.
        known: String,
    },
    /// It cannot be saved.
    #[error("cannot save the failing plan as {}: {source}. Make the directory writable, or name another one in \
             STANCHION_REGRESSIONS", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Regression {
    /// Its place below a directory of regressions: the same for the same queue, engine, promise and seed,
    /// shrunk or not.
    pub fn path(&self, directory: &Path) -> PathBuf {
        let (engine, promise) = (self.plan.engine(), self.invariant.id());
        let key = format!("{}\n{engine}\n{promise}\n{}", self.queue, self.seed);
        let hash = fnv1a(key.bytes()) as u32;
        directory.join(folder(&self.queue)).join(format!("{promise}-{hash:08x}.json"))
    }

    /// Writes it to a file, whose directories are made. A file that is there is replaced in one step: a
    /// reader sees the old one or the new one.
    ///
    /// # Errors
    /// [`RegressionError::Unwritable`].
    pub fn save(&self, path: &Path) -> Result<(), RegressionError> {
        let unwritable = |source| RegressionError::Unwritable { path: path.to_owned(), source };
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(unwritable)?;
        let mut json = serde_json::to_string_pretty(self).expect("plain data, and every key is text");
        json.push('\n');
        let mut file = tempfile::NamedTempFile::new_in(parent).map_err(unwritable)?;
        file.write_all(json.as_bytes()).map_err(unwritable)?;
        file.persist(path).map_err(|error| unwritable(error.error))?;
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// It cannot be read, is not one, or is of another format.
    pub fn load(path: &Path) -> Result<Regression, RegressionError> {
        let garbled = |detail: String| RegressionError::Garbled { path: path.to_owned(), detail };
        let text = fs::read_to_string(path)
            .map_err(|source| RegressionError::Unreadable { path: path.to_owned(), source })?;
        // The version first: of another one, nothing else can be said.
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| garbled(error.to_string()))?;
        let found = value.get("format").and_then(serde_json::Value::as_u64);
        let found = found.ok_or_else(|| garbled("it has no number called \"format\"".into()))?;
        if found != FORMAT {
            return Err(RegressionError::Format { path: path.to_owned(), found });
        }
        if let Some(plan) = value.pointer("/plan/images") {
            let (engine, now) = (images::Plan::ENGINE, images::VERSION);
            let found = plan.get("version").map_or(Some(1), serde_json::Value::as_u64);
            let found = found.ok_or_else(|| garbled("the version of its plan is not a number".into()))?;
            if found != now {
                return Err(RegressionError::Meaning { path: path.to_owned(), engine, found, now });
            }
        }
        // Again from the text, so that an error says in which line.
        serde_json::from_str(&text).map_err(|error| garbled(error.to_string()))
    }
}

/// What was found in a directory of regressions.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The usable ones with their files, sorted by name.
    pub regressions: Vec<(PathBuf, Regression)>,
    /// The others. They are to be shown.
    pub errors: Vec<RegressionError>,
}

/// All saved plans of one queue. No directory: none.
pub fn of_queue(directory: &Path, queue: &str) -> Loaded {
    let mut loaded = Loaded::default();
    for path in json_files(&directory.join(folder(queue)), &mut loaded.errors) {
        match Regression::load(&path) {
            Ok(regression) if regression.queue == queue => loaded.regressions.push((path, regression)),
            Ok(Regression { queue: other, .. }) => {
                loaded.errors.push(RegressionError::UnknownQueue { path, queue: other, known: queue.into() });
            }
            Err(error) => loaded.errors.push(error),
        }
    }
    loaded
}

/// Whether there may be saved plans of a queue.
pub(crate) fn has_any(directory: &Path, queue: &str) -> bool {
    directory.join(folder(queue)).exists()
}

/// The saved plans under folders of none of these queues: nothing would ever replay them.
pub fn of_unknown_queues(directory: &Path, known: &[&str]) -> Vec<RegressionError> {
    let mut errors = Vec::new();
    let folders: Vec<String> = known.iter().map(|queue| folder(queue)).collect();
    for path in entries(directory, &mut errors) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !folders.contains(&name) {
            for path in json_files(&path, &mut errors) {
                let queue = Regression::load(&path).map_or_else(|_| name.clone(), |saved| saved.queue);
                errors.push(RegressionError::UnknownQueue { path, queue, known: known.join(", ") });
            }
        }
    }
    errors
}

/// The line that runs a saved plan again and nothing else, in any crate whose tests run the queue.
pub fn replay_line(path: &Path, queue: &str, invariant: Invariant) -> String {
    format!("STANCHION_REPLAY={} {}", quoted(&path.display().to_string()), test_line(queue, invariant))
}

/// The line that runs one test.
pub(crate) fn test_line(queue: &str, invariant: Invariant) -> String {
    format!("cargo test {}", quoted(&format!("{queue}::{}", invariant.name())))
}

/// As a shell reads it: as it is, or between quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A queue's name as a folder's.
fn folder(queue: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    queue.chars().map(plain).collect()
}

fn json_files(folder: &Path, errors: &mut Vec<RegressionError>) -> Vec<PathBuf> {
    let mut paths = entries(folder, errors);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths
}

/// Sorted, so that runs are alike.
fn entries(folder: &Path, errors: &mut Vec<RegressionError>) -> Vec<PathBuf> {
    let listed = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => Err(error),
    };
    let mut paths = listed.unwrap_or_else(|source| {
        errors.push(RegressionError::Unreadable { path: folder.to_owned(), source });
        Vec::new()
    });
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plans;

    fn regression(queue: &str, seed: u64) -> Regression {
        let plan = Plans::default().draw(seed);
        Regression {
            format: FORMAT,
            queue: queue.into(),
            invariant: Invariant::Al6,
            sentence: "m1 was acked and delivered again.".into(),
            case: 3,
            seed,
            steps_before: plan.steps.len(),
            steps_after: plan.steps.len(),
            plan: plan.into(),
        }
    }

    fn save(regression: &Regression, directory: &Path) -> PathBuf {
        let path = regression.path(directory);
        regression.save(&path).expect("writable");
        path
    }

    #[test]
    fn what_is_saved_is_loaded_and_replaced_by_its_smaller_form() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut first = regression("odd/name", 5);
        let path = save(&first, directory.path());
        assert!(path.starts_with(directory.path().join("odd_name")));
        let SavedPlan::Broker(plan) = &mut first.plan else { panic!("of a broker") };
        plan.steps.truncate(2);
        first.steps_after = 2;
        assert_eq!(save(&first, directory.path()), path);
        save(&regression("odd/name", 6), directory.path());
        let loaded = of_queue(directory.path(), "odd/name");
        assert!(loaded.errors.is_empty());
        assert_eq!(loaded.regressions.len(), 2);
        assert!(loaded.regressions.contains(&(path.clone(), first)));
        assert!(of_queue(directory.path(), "ring").regressions.is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_said_with_a_remedy_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = save(&regression("ring", 5), directory.path());
        let text = fs::read_to_string(&path).expect("just written");
        let broken = [
            (text.replace("\"format\": 2", "\"format\": 3"), "update stanchion"),
            (text.replace("\"format\": 2", "\"format\": 1"), "run the version that wrote it"),
            (text.replace("\"format\"", "\"fromat\""), "no number called \"format\""),
            (text.replace("\"steps\"", "\"stesp\""), "unknown field `stesp`"),
            (text[..text.len() / 2].to_owned(), "Restore it"),
            (text.replace("\"ring\"", "\"rong\""), "\"rong\", which is not registered"),
        ];
        for (text, expected) in broken {
            fs::write(&path, &text).expect("writable");
            let loaded = of_queue(directory.path(), "ring");
            assert!(loaded.regressions.is_empty());
            let [error] = &loaded.errors[..] else { panic!("one error expected") };
            let error = error.to_string();
            assert!(error.contains(expected) && error.contains(&path.display().to_string()), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("still there"), text);
        }
    }

    #[test]
    fn a_plan_of_crash_images_that_would_be_another_one_by_now_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let broker = Plans::default().draw(5);
        let plan = images::Plan {
            version: images::Version,
            settings: broker.settings,
            start: None,
            steps: broker.steps.into_iter().map(images::Move::plain).collect(),
            redrive_at_end: false,
            lying: false,
        };
        let saved = Regression { plan: plan.into(), ..regression("ring", 5) };
        let path = save(&saved, directory.path());
        assert_eq!(Regression::load(&path).expect("is of this version"), saved);
        let text = fs::read_to_string(&path).expect("is there");
        let version = format!("\"version\": {},", images::VERSION);
        let later = (images::VERSION + 1).to_string();
        let older = "find the failure again with the seed in the file";
        for (written, found, remedy) in [
            ("", "1", older),
            ("\"version\": 1,", "1", older),
            (&*format!("\"version\": {later},"), &*later, "update stanchion"),
        ] {
            assert!(text.contains(&version));
            fs::write(&path, text.replace(&version, written)).expect("writable");
            let error = Regression::load(&path).expect_err("it would be run as another plan");
            assert!(matches!(&error, RegressionError::Meaning { now: images::VERSION, .. }), "{error}");
            let told = error.to_string();
            let says = |what: &str| assert!(told.contains(what), "{what}: {told}");
            says(&path.display().to_string());
            says(&format!("has version {found}, and this version runs version {}", images::VERSION));
            says(remedy);
            let loaded = of_queue(directory.path(), "ring");
            assert!(
                loaded.regressions.is_empty() && loaded.errors.len() == 1,
                "it is not passed over: {loaded:?}"
            );
        }
        fs::write(&path, text.replace(&version, "\"version\": \"x\",")).expect("writable");
        let error = Regression::load(&path).expect_err("no number");
        assert!(matches!(error, RegressionError::Garbled { .. }), "{error}");
    }

    #[test]
    fn the_line_that_replays_survives_a_shell() {
        let line = |path: &str, queue| replay_line(Path::new(path), queue, Invariant::Al1);
        assert_eq!(
            line("regressions/ring/AL-1-0.json", "ring"),
            "STANCHION_REPLAY=regressions/ring/AL-1-0.json cargo test ring::no_loss"
        );
        assert_eq!(
            line("my plans/it's.json", "a b"),
            r"STANCHION_REPLAY='my plans/it'\''s.json' cargo test 'a b::no_loss'"
        );
    }

    #[test]
    fn plans_of_queues_that_are_gone_are_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        save(&regression("ring", 5), directory.path());
        assert!(of_unknown_queues(directory.path(), &["ring"]).is_empty());
        let errors = of_unknown_queues(directory.path(), &["file", "rung"]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("Registered: file, rung"), "{}", errors[0]);
        assert!(of_unknown_queues(&directory.path().join("none"), &[]).is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let regression = regression("ring", 5);
        let error = regression.save(&regression.path(file.path())).expect_err("a file is no directory");
        assert!(error.to_string().contains("STANCHION_REGRESSIONS"), "{error}");
        assert_eq!(of_queue(file.path(), "ring").errors.len(), 1);
    }
}
