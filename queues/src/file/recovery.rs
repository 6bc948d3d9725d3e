//! Opening: what the latest log says becomes the state of a new one.

use super::log::{Log, Name, VERSION};
use super::reading::{ReadError, read};
use super::record::Record;
use super::rng::mix;
use super::state::State;
use super::storage::Storage;
use crate::broker::{Error, Settings};

/// What was found when a queue was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Bytes of a commit that was never finished and hence never confirmed; they were left out.
    pub torn: u64,
    /// The life before was not closed: it was killed, or the power failed. What it handed out last may not be written.
    pub unclean: bool,
}

/// Recovers the state and begins the log of the new life with it.
///
/// Older logs are removed only when the new one is durable under its name. Whatever goes wrong before that
/// changes nothing that the next attempt could stumble over. `step`: see [`Log::begin`].
pub(super) fn recover<S: Storage>(
    storage: &S,
    settings: &Settings,
    step: u64,
) -> Result<(State, Log<S::File>, Recovered), Error> {
    let failed = |action, source| Error::Io {
        action,
        path: storage.locate(""),
        source,
        remedy: "Nothing was changed; mend that and open the queue again",
    };
    let listed = storage.list().map_err(|e| failed("list the files in", e))?;
    let names: Vec<Name> = listed.iter().filter_map(|name| Name::parse(name)).collect();
    let latest = names.iter().filter_map(|name| if let Name::Log(n) = name { Some(*n) } else { None }).max();

    let mut state = State::new();
    let recovered = match latest {
        Some(number) => load(storage, number, &mut state)?,
        None => Recovered::default(),
    };
    state.recover(settings.deliveries_allowed);

    let highest = names.iter().map(|(Name::Log(n) | Name::Unfinished(n))| *n).max().unwrap_or(0);
    let number = highest.checked_add(1).ok_or_else(|| Error::Corrupt {
        path: storage.locate(&Name::Log(highest).to_string()),
        offset: 0,
        detail: "no number is left for a log after this one; such a name was not given by a queue".into(),
    })?;
    let log = Log::begin(storage, number, salt_seed(settings), step, state.snapshot())
        .map_err(|e| failed("begin a new log in", e))?;
    log.publish(storage).map_err(|e| failed("name the new log in", e))?;
    for name in names {
        // What cannot be removed is in nobody's way, and the next open tries again.
        let _ = storage.remove(&name.to_string());
    }
    Ok((state, log, recovered))
}

fn load<S: Storage>(storage: &S, number: u64, state: &mut State) -> Result<Recovered, Error> {
    let name = Name::Log(number).to_string();
    let failed = |source, remedy| Error::Io { action: "read", path: storage.locate(&name), source, remedy };
    let file = storage.open(&name).map_err(|e| failed(e, "Make it readable and writable"))?;
    let mut unclean = true;
    let read = read(&file, number, |record| {
        unclean = record != Record::Closed;
        state.apply(&record)
    });
    read.map(|tail| Recovered { torn: tail.torn, unclean }).map_err(|error| match error {
        ReadError::Io(source) => failed(source, "Nothing was changed; mend that and open the queue again"),
        ReadError::Version(version) => {
            let text = format!("it has format version {version}, and this program reads version {VERSION}");
            let source = std::io::Error::new(std::io::ErrorKind::Unsupported, text);
            failed(source, "Open it with the program that wrote it")
        }
        ReadError::Damaged { offset, detail } => {
            Error::Corrupt { path: storage.locate(&name), offset, detail }
        }
    })
}

/// Logs of one directory differ by their number; this tells them from logs of other directories and from
/// copies that were put back.
pub(super) fn salt_seed(settings: &Settings) -> u64 {
    settings.seed ^ mix(settings.clock.now().0)
}
