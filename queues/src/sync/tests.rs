use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::clock::Clock;

/// Writes down what it is asked.
#[derive(Default)]
struct Script(RefCell<Vec<String>>);

impl Turns for Script {
    fn point(&self, at: Point) {
        self.0.borrow_mut().push(format!("{at:?}"));
    }

    fn wait(&self, _: usize) {
        unreachable!("nobody else has a lock");
    }

    fn released(&self, _: usize) {
        self.0.borrow_mut().push("released".into());
    }

    fn sleep(&self, _: usize, until: Option<Time>) -> bool {
        self.0.borrow_mut().push(format!("sleeps until {until:?}"));
        until.is_none()
    }

    fn notified(&self, _: usize, all: bool) {
        self.0.borrow_mut().push(if all { "all".into() } else { "one".into() });
    }

    fn now(&self) -> Time {
        Time(5)
    }

    fn spawn(&self, body: Box<dyn FnOnce()>) -> usize {
        body();
        7
    }

    fn join(&self, spawned: usize) {
        self.0.borrow_mut().push(format!("joins {spawned}"));
    }
}

#[test]
fn locks_and_watched_clocks_are_points_where_turns_are_decided_and_nowhere_else() {
    let (mutex, clock) = (Mutex::new(1), Clock::manual());
    let script = Rc::new(Script::default());
    let use_all = || {
        *mutex.lock().expect("nobody panicked") += 1;
        clock.watched().now();
        clock.now();
        assert!(!storage_fails(), "nobody makes it fail");
        point();
    };
    use_all();
    with_turns(Rc::clone(&script) as Rc<dyn Turns>, use_all);
    use_all();
    assert_eq!(*script.0.borrow(), ["Queue", "released", "Clock", "Storage", "Queue"]);
    assert_eq!(mutex.into_inner().expect("nobody panicked"), 4);
}

#[test]
fn a_watched_clock_is_the_same_clock() {
    let clock = Clock::manual();
    let watched = clock.watched();
    assert!(watched.advance(std::time::Duration::from_nanos(3)));
    assert_eq!((clock.now(), watched.now()), (crate::Time(3), crate::Time(3)));
}

#[test]
fn threads_exclude_each_other_and_a_panic_poisons() {
    let count = Arc::new(Mutex::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| *count.lock().expect("nobody panicked") += 1));
        }
    });
    assert_eq!(*count.lock().expect("nobody panicked"), 4000);
    let held = Arc::clone(&count);
    let panicked = thread::spawn(move || {
        let _guard = held.lock();
        std::panic::resume_unwind(Box::new("with the lock"));
    });
    assert!(panicked.join().is_err() && count.lock().is_err());
}

#[test]
fn whoever_waits_in_a_simulation_releases_the_lock_first_and_takes_it_again() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    let script = Rc::new(Script::default());
    with_turns(Rc::clone(&script) as Rc<dyn Turns>, || {
        let guard = mutex.lock().expect("nobody panicked");
        let mut looks = 0;
        let mut often = |value: &mut i32| {
            *value += 1;
            looks += 1;
            looks < 3
        };
        let guard = condvar.wait_while(guard, &mut often).expect("nobody panicked");
        assert_eq!(*guard, 3);
        let ms = Duration::from_nanos(10);
        let (guard, ended) = condvar.wait_timeout_while(guard, ms, |_| true).expect("nobody panicked");
        assert!(ended.timed_out());
        drop(guard);
        condvar.notify_one();
        condvar.notify_all();
        let mut spin = Spin::new(Duration::ZERO);
        assert!(spin.once_more(), "no time passes");
        spawn("a thread", || ()).expect("there is one").join();
    });
    let (wait, again) =
        (["released", "sleeps until None", "Queue"], ["released", "sleeps until Some(15ns)", "Queue"]);
    let expected =
        [&["Queue"][..], &wait, &wait, &again, &["released", "one", "all", "Queue", "joins 7"]].concat();
    assert_eq!(*script.0.borrow(), expected);
}

#[test]
fn threads_tell_each_other_and_lose_patience() {
    let (state, changed) = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..100 {
                let mut mine =
                    changed.wait_while(state.lock().expect("none"), |now| *now != 2 * turn).expect("none");
                *mine += 1;
                changed.notify_one();
            }
        });
        for turn in 0..100 {
            let mut mine =
                changed.wait_while(state.lock().expect("none"), |now| *now != 2 * turn + 1).expect("none");
            *mine += 1;
            changed.notify_all();
        }
    });
    assert_eq!(*state.lock().expect("none"), 200);
    let short = Duration::from_millis(1);
    let (guard, ended) =
        changed.wait_timeout_while(state.lock().expect("none"), short, |_| true).expect("none");
    assert!(ended.timed_out());
    let (guard, ended) = changed.wait_timeout_while(guard, short, |_| false).expect("none");
    assert!(!ended.timed_out() && *guard == 200);
    drop(guard);
    let mut spin = Spin::new(Duration::ZERO);
    assert!(!spin.once_more());
    let (told, heard) = std::sync::mpsc::channel();
    spawn("a thread", move || told.send(5).expect("it is heard")).expect("there is one").join();
    assert_eq!(heard.try_recv(), Ok(5));
}
