//! The machine and the build that results come from, without anything that names its owner.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::results::{Git, Run};

/// The machine and the build. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The operating system: "linux".
    pub os: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The architecture: "x86_64".
    pub arch: String,
    /// The processor's model.
    pub cpu_model: Option<String>,
    /// Physical cores.
    pub cores_physical: Option<u32>,
    /// Logical cores.
    pub cores_logical: Option<u32>,
    /// Cores that this process may use.
    pub cores_allowed: Option<u32>,
    /// The frequency governor of the first core.
    pub governor: Option<String>,
    /// Whether a hypervisor is underneath.
    pub virtual_machine: Option<bool>,
    /// Whether it ran in a container.
    pub container: Option<bool>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// The machine's memory.
    pub memory_bytes: Option<u64>,
    /// The compiler.
    pub rustc: Option<String>,
    /// The target triple.
    pub target: Option<String>,
    /// The optimisation level of the build.
    pub opt_level: Option<String>,
    /// Whether debug assertions were on.
    pub debug_assertions: bool,
    /// A hash of everything here that changes what is measured: numbers of different fingerprints do not compare.
    pub fingerprint: String,
}

impl Environment {
    /// Looks around. Reads `/proc` and `/sys`; elsewhere most fields stay `None`.
    pub fn capture() -> Environment {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut environment = Environment {
            os: std::env::consts::OS.into(),
            kernel: line("/proc/sys/kernel/osrelease"),
            arch: std::env::consts::ARCH.into(),
            cpu_model: field(&cpuinfo, "model name").map(str::to_owned),
            cores_physical: physical_cores(&cpuinfo),
            cores_logical: count(cpuinfo.lines().filter(|line| key(line) == Some("processor")).count()),
            cores_allowed: std::thread::available_parallelism().ok().and_then(|n| count(n.get())),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            virtual_machine: field(&cpuinfo, "flags")
                .map(|flags| flags.split_ascii_whitespace().any(|flag| flag == "hypervisor")),
            container: container(),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            memory_bytes: memory_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            rustc: option_env!("STANCHION_BUILT_RUSTC").map(str::to_owned),
            target: option_env!("STANCHION_BUILT_TARGET").map(str::to_owned),
            opt_level: option_env!("STANCHION_BUILT_OPT_LEVEL").map(str::to_owned),
            debug_assertions: cfg!(debug_assertions),
            fingerprint: String::new(),
        };
        environment.fingerprint = environment.fingerprint();
        environment
    }

    /// The hash of everything that changes what is measured: 16 hexadecimal digits, the same in every process and
    /// version (64-bit FNV-1a).
    pub fn fingerprint(&self) -> String {
        let relevant = Environment { fingerprint: String::new(), ..self.clone() };
        format!("{:016x}", fnv1a(format!("{relevant:?}").as_bytes()))
    }
}

impl Run {
    /// The run of this process, started now: its command, its versions and its environment. `part` is the name of
    /// its target, as in "conformance"; profile, seed and, at the end, duration are left to the caller.
    pub fn capture(part: &str) -> Run {
        let started_unix_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let identity = format!("{part} {started_unix_ms} {}", std::process::id());
        Run {
            id: format!("{:016x}", fnv1a(identity.as_bytes())),
            part: part.into(),
            started_unix_ms,
            command: command(std::env::args().skip(1), part),
            tool_version: env!("CARGO_PKG_VERSION").into(),
            git: git(),
            environment: Environment::capture(),
            ..Run::default()
        }
    }
}

/// The process's own path would name a build directory, so the target's name stands for it.
fn command(arguments: impl Iterator<Item = String>, part: &str) -> String {
    arguments.fold(part.to_owned(), |mut command, argument| {
        command.push(' ');
        if argument.contains(|c: char| c.is_whitespace() || "'\"$&|;<>*?()".contains(c)) {
            command.push_str(&format!("'{}'", argument.replace('\'', r"'\''")));
        } else {
            command.push_str(&argument);
        }
        command
    })
}

fn git() -> Option<Git> {
    let ask = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let rev = ask(&["rev-parse", "--short=12", "HEAD"])?;
    let dirty = !ask(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(Git { rev, dirty })
}

/// 64-bit FNV-1a: unlike the standard hasher it is the same in every version.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.lines().next()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn key(line: &str) -> Option<&str> {
    line.split_once(':').map(|(key, _)| key.trim())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find(|line| key(line) == Some(name)).and_then(|line| Some(line.split_once(':')?.1.trim()))
}

fn count(n: usize) -> Option<u32> {
    u32::try_from(n).ok().filter(|n| *n > 0)
}

/// Distinct pairs of socket and core.
fn physical_cores(cpuinfo: &str) -> Option<u32> {
    let mut cores: Vec<_> = cpuinfo
        .split("\n\n")
        .filter_map(|block| Some((field(block, "physical id")?, field(block, "core id")?)))
        .collect();
    cores.sort_unstable();
    cores.dedup();
    count(cores.len())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn container() -> Option<bool> {
    if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        return Some(true);
    }
    let cgroup = fs::read_to_string("/proc/1/cgroup").ok()?;
    Some(["docker", "kubepods", "containerd", "lxc"].iter().any(|name| cgroup.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: 0\ncore id\t\t: 0\n\
        flags\t\t: fpu hypervisor sse\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: 0\n\
        core id\t\t: 0\nflags\t\t: fpu hypervisor sse\n\n";

    #[test]
    fn two_threads_of_one_core_are_one_physical_core() {
        assert_eq!(physical_cores(CPUINFO), Some(1));
        assert_eq!(physical_cores("processor : 0\n"), None);
        assert_eq!(field(CPUINFO, "model name"), Some("Some CPU @ 2.00GHz"));
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2_097_152));
        assert_eq!(memory_bytes("MemTotal: much\n"), None);
    }

    #[test]
    fn the_fingerprint_follows_what_matters_and_ignores_itself() {
        let here = Environment::capture();
        assert_eq!(here.fingerprint, here.fingerprint());
        assert_ne!(here.fingerprint, Environment { cores_allowed: Some(999), ..here.clone() }.fingerprint());
    }

    #[test]
    fn the_build_is_known() {
        let here = Environment::capture();
        assert!(here.rustc.is_some_and(|rustc| rustc.starts_with("rustc ")));
        assert!(here.target.is_some());
    }

    #[test]
    fn a_command_can_be_pasted() {
        let arguments = ["ring::no_loss", "--seed", "a b", "it's"].map(String::from);
        assert_eq!(
            command(arguments.into_iter(), "conformance"),
            r"conformance ring::no_loss --seed 'a b' 'it'\''s'"
        );
    }
}
