//! Leave of a person for what no rule speaks for: each wish is asked about once, whoever waits for the answer.
//!
//! An answer admits nothing by itself. A yes is a rule in the policy by the time it is told here, and who waited is
//! judged anew.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::client::Leave;
use crate::lock::lock;
use crate::policy::Wish;

/// Wishes that a person is asked about one after the other; what comes beyond is denied.
const WISHES_MAX: usize = 64;
/// Flows that wait for answers.
const WAITING_MAX: usize = 256;
/// How soon a connection follows the look-up of its name, so that it is not asked about a second time.
const FOLLOWS: Duration = Duration::from_secs(30);

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What waits may pass, by a rule for this leave alone.
    Once(Leave),
    /// There is a rule for everyone now.
    Always,
    /// No, and do not ask again.
    Never,
    /// Nobody said anything: it is denied this time.
    Nothing,
}

/// Whoever is asked, as those who wait know them.
pub struct Consent {
    wishes: Arc<Mutex<Wishes>>,
    person: Sender<Unanswered>,
    room: Semaphore,
}

/// A wish that a person is to be asked about. Dropped unanswered, nothing was said.
#[derive(Debug)]
pub struct Unanswered {
    pub wish: Wish,
    wishes: Arc<Mutex<Wishes>>,
    answer: Arc<watch::Sender<Option<Answer>>>,
}

#[derive(Debug, Default)]
struct Wishes {
    open: HashMap<Wish, Open>,
    refused: HashSet<Wish>,
    /// Leaves of names that were looked up and that no connection has used yet.
    unused: HashMap<Wish, (Leave, Instant)>,
}

#[derive(Debug)]
struct Open {
    answer: Arc<watch::Sender<Option<Answer>>>,
    /// A name is only looked up: a connection is to follow.
    is_led_to: bool,
}

impl Consent {
    /// Whoever is asked, and what they are asked about.
    pub fn new(person: Sender<Unanswered>) -> Self {
        Self { wishes: Arc::default(), person, room: Semaphore::new(WAITING_MAX) }
    }

    /// Waits for the answer. `looks_up`: it is for the name alone, which a connection will follow.
    pub async fn wait(&self, wish: &Wish, looks_up: bool) -> Answer {
        let Ok(_room) = self.room.try_acquire() else { return Answer::Nothing };
        let mut answer = match self.join(wish, looks_up) {
            Ok(answer) => answer,
            Err(known) => return known,
        };
        let told = answer.wait_for(Option::is_some).await.ok().and_then(|answer| *answer);
        told.unwrap_or(Answer::Nothing)
    }

    /// Where the answer will be told, or the one that there is already.
    fn join(&self, wish: &Wish, looks_up: bool) -> Result<watch::Receiver<Option<Answer>>, Answer> {
        let mut wishes = lock(&self.wishes);
        if wishes.refused.contains(wish) {
            return Err(Answer::Never);
        }
        if let Some(leave) = wishes.leave(wish, looks_up) {
            return Err(Answer::Once(leave));
        }
        if let Some(open) = wishes.open.get_mut(wish) {
            open.is_led_to |= looks_up;
            return Ok(open.answer.subscribe());
        }
        if wishes.open.len() >= WISHES_MAX {
            return Err(Answer::Nothing);
        }
        let (answer, told) = watch::channel(None);
        let answer = Arc::new(answer);
        wishes.open.insert(wish.clone(), Open { answer: Arc::clone(&answer), is_led_to: looks_up });
        // Dropping what could not be sent takes the lock.
        drop(wishes);
        let unanswered = Unanswered { wish: wish.clone(), wishes: Arc::clone(&self.wishes), answer };
        match self.person.send(unanswered) {
            Ok(()) => Ok(told),
            Err(_) => Err(Answer::Nothing),
        }
    }
}

impl Wishes {
    /// A leave that is left of an answer to a look-up. The connection that follows uses it up.
    fn leave(&mut self, wish: &Wish, looks_up: bool) -> Option<Leave> {
        self.unused.retain(|_, (_, until)| *until > Instant::now());
        let leave = self.unused.get(wish).map(|(leave, _)| *leave)?;
        if !looks_up {
            self.unused.remove(wish);
        }
        Some(leave)
    }
}

impl Unanswered {
    /// Whether anybody still waits.
    pub fn is_wanted(&self) -> bool {
        self.answer.receiver_count() > 0
    }

    /// Tells everyone who waits.
    pub fn answer(self, answer: Answer) {
        self.tell(answer);
    }

    fn tell(&self, answer: Answer) {
        let mut wishes = lock(&self.wishes);
        let Some(open) = wishes.open.remove(&self.wish) else { return };
        match answer {
            Answer::Once(leave) if open.is_led_to => {
                wishes.unused.insert(self.wish.clone(), (leave, Instant::now() + FOLLOWS));
            }
            Answer::Never => drop(wishes.refused.insert(self.wish.clone())),
            _ => {}
        }
        open.answer.send_replace(Some(answer));
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.tell(Answer::Nothing);
    }
}

impl fmt::Debug for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consent({} open)", lock(&self.wishes).open.len())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::host::Host;

    const LEAVE: Leave = Leave(NonZeroU32::MIN);

    fn wish(name: &str) -> Wish {
        Wish { host: Host::parse(name).unwrap(), port: None, unread: false }
    }

    fn start() -> (Arc<Consent>, Receiver<Unanswered>) {
        let (person, asked) = channel();
        (Arc::new(Consent::new(person)), asked)
    }

    /// Waits in a task of its own, and gives back once it does.
    async fn wait(consent: &Arc<Consent>, name: &str, looks_up: bool) -> tokio::task::JoinHandle<Answer> {
        let (consent, wish) = (Arc::clone(consent), wish(name));
        let before = consent.room.available_permits();
        let watched = Arc::clone(&consent);
        let waits = tokio::spawn(async move { consent.wait(&wish, looks_up).await });
        while watched.room.available_permits() == before && !waits.is_finished() {
            tokio::task::yield_now().await;
        }
        waits
    }

    #[tokio::test]
    async fn one_wish_is_asked_about_once_whoever_waits() {
        let (consent, asked) = start();
        let waits = [
            wait(&consent, "a.example", true).await,
            wait(&consent, "a.example", true).await,
            wait(&consent, "a.example", false).await,
        ];
        let other = wait(&consent, "b.example", false).await;
        let one = asked.recv().unwrap();
        assert_eq!(one.wish, wish("a.example"));
        assert!(one.is_wanted());
        one.answer(Answer::Always);
        for wait in waits {
            assert_eq!(wait.await.unwrap(), Answer::Always);
        }
        drop(asked.recv().unwrap());
        assert_eq!(other.await.unwrap(), Answer::Nothing);
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_no_is_remembered_and_silence_is_not() {
        let (consent, asked) = start();
        for (answer, again) in [(Answer::Nothing, true), (Answer::Never, false)] {
            let waits = wait(&consent, "a.example", false).await;
            asked.recv().unwrap().answer(answer);
            assert_eq!(waits.await.unwrap(), answer);
            let waits = wait(&consent, "a.example", false).await;
            assert_eq!(asked.try_recv().is_ok(), again);
            waits.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_leave_to_look_up_is_one_to_connect_once() {
        let (consent, asked) = start();
        let waits = wait(&consent, "a.example", true).await;
        asked.recv().unwrap().answer(Answer::Once(LEAVE));
        assert_eq!(waits.await.unwrap(), Answer::Once(LEAVE));
        for looks_up in [true, true, false] {
            assert_eq!(consent.wait(&wish("a.example"), looks_up).await, Answer::Once(LEAVE));
        }
        let waits = wait(&consent, "a.example", false).await;
        // Nothing is left for a third one, nor of a connection's own leave.
        asked.recv().unwrap().answer(Answer::Once(LEAVE));
        waits.await.unwrap();
        let waits = wait(&consent, "a.example", false).await;
        assert!(asked.try_recv().is_ok());
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn what_waits_has_a_bound() {
        let (consent, asked) = start();
        let mut waits = Vec::new();
        for number in 0..WISHES_MAX {
            waits.push(wait(&consent, &format!("{number}.example"), false).await);
        }
        assert_eq!(consent.wait(&wish("more.example"), false).await, Answer::Nothing);
        while waits.len() < WAITING_MAX {
            waits.push(wait(&consent, "1.example", false).await);
        }
        assert_eq!(consent.wait(&wish("1.example"), false).await, Answer::Nothing);
        waits.iter().for_each(|wait| wait.abort());
        for wait in waits {
            let _ = wait.await;
        }
        assert!(!asked.recv().unwrap().is_wanted());
        drop(asked);
        assert_eq!(consent.wait(&wish("last.example"), false).await, Answer::Nothing);
    }
}
