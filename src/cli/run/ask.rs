//! Asks the person at the terminal about what no rule speaks for, one question after the other.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::cli::run::arguments::RunArgs;
use crate::cli::run::prompt::{Held, Prompt, Reply};
use crate::consent::{Answer, Consent, Unanswered};
use crate::jail::Running;
use crate::lock::lock;
use crate::policy::Wish;
use crate::policy::document;
use crate::policy::terms::Profile;
use crate::reload::Grants;

/// Plain characters, in plain colours (ECMA-48, SGR 0).
const PLAIN: &str = "\x1b[0m";
/// A path longer than this is told by its end.
const PATH_MAX: usize = 60;

/// Somebody who can be asked, before there is anything to ask about.
#[derive(Debug)]
pub(super) struct Asking {
    person: Arc<Person>,
    consent: Arc<Consent>,
    asked: Receiver<Unanswered>,
}

/// Whoever can be asked.
#[derive(Debug)]
pub(super) struct Person {
    prompt: Prompt,
    /// How long an answer may take.
    patience: Duration,
    /// Where an answer can be written down.
    book: Option<Book>,
    /// Held while a question stands.
    busy: Mutex<()>,
    is_gone: AtomicBool,
}

/// A profile of a policy file.
#[derive(Clone, Debug)]
pub(super) struct Book {
    file: PathBuf,
    profile: String,
}

/// What a person chose.
enum Choice {
    Once,
    Always,
    Never,
    Nothing,
    /// The rule stands in this line now.
    Written(u32),
    Key(Signal),
}

impl Asking {
    /// An error where there is no terminal.
    pub(super) fn new(args: &RunArgs, profiles: &[Profile]) -> io::Result<Self> {
        let person = Person {
            prompt: Prompt::open()?,
            patience: Duration::from_secs(args.ask_timeout),
            book: Book::of(profiles, args.profile.as_deref()),
            busy: Mutex::default(),
            is_gone: AtomicBool::new(false),
        };
        let (ask, asked) = channel();
        Ok(Self { person: Arc::new(person), consent: Arc::new(Consent::new(ask)), asked })
    }

    pub(super) fn consent(&self) -> Arc<Consent> {
        Arc::clone(&self.consent)
    }

    /// Asks from a thread of its own, which ends with the process.
    pub(super) fn start(self, jail: Running, grants: Arc<Grants>) -> Arc<Person> {
        let Self { person, asked, .. } = self;
        let asks = Arc::clone(&person);
        // Without it, what waits is told that nobody is there.
        drop(
            thread::Builder::new().name("ask".to_owned()).spawn(move || asks.ask_all(&asked, &jail, &grants)),
        );
        person
    }
}

impl Person {
    /// Asks whatever comes, until nobody asks any more.
    fn ask_all(&self, asked: &Receiver<Unanswered>, jail: &Running, grants: &Grants) {
        while let Ok(unanswered) = asked.recv() {
            let busy = lock(&self.busy);
            // What came before is of no account; but to be gone is said first, and then interrupts.
            self.prompt.clear();
            if unanswered.is_wanted() && !self.is_gone.load(Ordering::Acquire) {
                self.ask(unanswered, jail, grants);
            }
            drop(busy);
        }
    }

    /// Takes away the question that stands: there is a signal that the command must be able to hear.
    pub(super) fn interrupt(&self) {
        self.prompt.interrupt();
    }

    /// The command has ended. When this returns the terminal is what it was.
    pub(super) fn dismiss(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.prompt.interrupt();
        drop(lock(&self.busy));
    }

    fn ask(&self, unanswered: Unanswered, jail: &Running, grants: &Grants) {
        let is_still = jail.freeze(self.prompt.is_in_front());
        // In the background nobody can be asked, nor where the command could write over the question: it is denied.
        if let Some(held) = is_still.then(|| self.prompt.hold().ok()).flatten() {
            let choice = self.choose(&held, &unanswered.wish, jail);
            let book = self.book.as_ref();
            let answer = match choice {
                Choice::Once => Answer::Once(grants.once(&unanswered.wish)),
                Choice::Always => {
                    grants.always(&unanswered.wish, None);
                    Answer::Always
                }
                Choice::Written(line) => {
                    grants.always(&unanswered.wish, book.map(|book| (&*book.file, line)));
                    Answer::Always
                }
                Choice::Never => Answer::Never,
                Choice::Nothing | Choice::Key(_) => Answer::Nothing,
            };
            let go_on = || jail.thaw();
            if let Choice::Key(signal) = choice {
                // It is to come first: what a denial would make of the command is not asked for any more.
                held.release(Some(signal), go_on);
                unanswered.answer(answer);
            } else {
                unanswered.answer(answer);
                held.release(None, go_on);
            }
        } else {
            jail.thaw();
        }
    }

    fn choose(&self, held: &Held<'_>, wish: &Wish, jail: &Running) -> Choice {
        let mut book = self.book.as_ref();
        // Whatever the command has printed, what follows is to be seen.
        held.say(PLAIN);
        held.say(&format!("\nexeat: no rule allows {wish}. Let it through?\n"));
        loop {
            held.say(&self.offer(book));
            let line = match held.read(self.patience) {
                Reply::Line(line) => line,
                Reply::Key(signal) => return Choice::Key(signal),
                Reply::Interrupted => {
                    held.say("\n");
                    return Choice::Nothing;
                }
                Reply::Silence => {
                    held.say("\nexeat: no answer: it is denied\n");
                    return Choice::Never;
                }
            };
            let is_yes = matches!(line.trim(), "o" | "once" | "r" | "run" | "w" | "write");
            if is_yes && !jail.is_frozen() {
                held.say(
                    "exeat: the command went on meanwhile, and may have written what you saw: it is denied\n",
                );
                return Choice::Nothing;
            }
            match (line.trim(), book) {
                ("o" | "once", _) => return Choice::Once,
                ("r" | "run", _) => return Choice::Always,
                ("d" | "deny", _) => return Choice::Never,
                ("w" | "write", Some(Book { file, profile })) => {
                    match document::add_rule(file, profile, &wish.line()) {
                        Ok(line) => {
                            held.say(&format!("exeat: {}:{line} has it now\n", file.display()));
                            return Choice::Written(line);
                        }
                        Err(error) => {
                            held.say(&format!("exeat: {error}\n"));
                            book = None;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn offer(&self, book: Option<&Book>) -> String {
        let write = book.map_or(String::new(), |book| {
            let file = book.file.display().to_string();
            let cut = file.char_indices().rev().nth(PATH_MAX).map_or(0, |(at, _)| at);
            format!(", [w]rite to {}{}", if cut > 0 { "…" } else { "" }, &file[cut..])
        });
        format!("  [o]nce, for this [r]un{write}, [d]eny, then Enter ({} s): ", self.patience.as_secs())
    }
}

impl Book {
    /// The profile that the command belongs to, if it stands in a file: the one that was chosen, or the first.
    fn of(profiles: &[Profile], chosen: Option<&str>) -> Option<Self> {
        let own = match chosen {
            Some(name) => profiles.iter().find(|profile| profile.name == name),
            None => profiles.iter().find(|profile| profile.clients.is_none()),
        };
        own.filter(|own| document::is_file(own))
            .map(|own| Self { file: own.place.file.to_path_buf(), profile: own.name.clone() })
    }
}
