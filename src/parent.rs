//! Parent proxies: other proxies that flows may be sent through.
//!
//! Whether a flow may go is decided here before a parent hears of it, and what is inside is judged here too. Where a
//! parent is dialled, and in which order its URLs are, is told in [`crate::dial`].

mod credentials;
mod health;
mod secure;
mod settings;
mod tunnel;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::header::HeaderValue;
use tokio::time::{Instant, timeout_at};

use crate::destination::Destination;
use crate::error::{ParentFailure, ParentFault};
use crate::metrics::{MemberCounters, Metrics};
use crate::mistake::Mistake;
use crate::parent::credentials::Credentials;
use crate::parent::health::Health;
use crate::parent::secure::Secure;
use crate::stream::Stream;
use crate::via::Via;

pub use self::settings::{Account, PasswordSource, Resolve, Settings};
pub use self::tunnel::Ask;
pub use self::url::{Url, UrlError};

/// The parents of the settings.
#[derive(Debug, Default)]
pub struct Parents(Vec<Arc<Parent>>);

/// One parent: a name for several proxies, any of which does.
pub struct Parent {
    name: Arc<str>,
    resolve: Resolve,
    members: Vec<Member>,
    credentials: Credentials,
    secure: Option<Secure>,
    /// As which exeat is known on the way.
    via: Via,
}

/// One of the proxies of a parent.
#[derive(Debug)]
pub struct Member {
    url: Url,
    text: Arc<str>,
    health: Health,
    counters: MemberCounters,
}

impl Parents {
    /// Reads the secrets and certificates; on any error, every mistake.
    pub fn load(settings: &[Settings], via: &Via, metrics: &Metrics) -> Result<Self, Vec<Mistake>> {
        let (mut parents, mut mistakes) = (Vec::new(), Vec::new());
        for settings in settings {
            match Parent::load(settings, via.clone(), metrics) {
                Ok(parent) => parents.push(Arc::new(parent)),
                Err(found) => mistakes.extend(found),
            }
        }
        if mistakes.is_empty() { Ok(Self(parents)) } else { Err(mistakes) }
    }

    /// The parent of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Parent>> {
        // A handful at most.
        self.0.iter().find(|parent| &*parent.name == name)
    }

    /// The names that policies may use.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.0.iter().map(|parent| Arc::clone(&parent.name)).collect()
    }

    /// The files that they read, for whoever watches them.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.iter().flat_map(|parent| parent.files()).collect()
    }

    /// Reads the files again. What is wrong in one changes nothing of what it said before, and is returned.
    pub fn reload(&self) -> Vec<Mistake> {
        self.0.iter().flat_map(|parent| parent.reload()).collect()
    }
}

impl Parent {
    fn load(settings: &Settings, via: Via, metrics: &Metrics) -> Result<Self, Vec<Mistake>> {
        let credentials = Credentials::load(settings.account.clone());
        let wants_tls = settings.urls.iter().any(|url| url.tls);
        let secure = wants_tls.then(|| Secure::load(settings.place.clone(), settings.ca.clone())).transpose();
        let (credentials, secure) = match (credentials, secure) {
            (Ok(credentials), Ok(secure)) => (credentials, secure),
            (credentials, secure) => {
                return Err([credentials.err(), secure.err()].into_iter().flatten().collect());
            }
        };
        let members = settings.urls.iter().map(|url| {
            let text: Arc<str> = url.to_string().into();
            let counters = metrics.parents().member(&settings.name, &text);
            Member { url: url.clone(), health: Health::default(), counters, text }
        });
        Ok(Self {
            name: settings.name.as_str().into(),
            resolve: settings.resolve,
            members: members.collect(),
            credentials,
            secure,
            via,
        })
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Who looks the names of destinations up.
    pub fn resolve(&self) -> Resolve {
        self.resolve
    }

    /// Its proxies, in their order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What shows the parent who asks; secret.
    pub fn authorization(&self) -> Option<HeaderValue> {
        self.credentials.header()
    }

    /// Makes of a connection to a member one that carries what [`Ask`] is for.
    pub async fn open(
        &self,
        member: &Member,
        stream: Stream,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<Stream, ParentFailure> {
        let Ask::Tunnel(to) = ask else {
            member.counters.opened();
            return Ok(stream);
        };
        let asked = tunnel::open(stream, to, self.authorization(), &self.via);
        let answer = timeout_at(deadline, asked).await.unwrap_or(Err(ParentFault::AnswerLate));
        member.answers(&answer);
        answer.map_err(|fault| self.failure(member, fault))
    }

    /// Puts TLS around a connection to a member whose URL says so.
    pub async fn secure(&self, member: &Member, stream: Stream) -> Result<Stream, ParentFailure> {
        match &self.secure {
            Some(secure) if member.url.tls => {
                secure.shake(&member.url.to.host, stream).await.map_err(|fault| self.failure(member, fault))
            }
            _ => Ok(stream),
        }
    }

    /// A failure of one of its members.
    pub fn failure(&self, member: &Member, fault: ParentFault) -> ParentFailure {
        ParentFailure { parent: Arc::clone(&self.name), url: Arc::clone(&member.text), fault }
    }

    fn files(&self) -> Vec<PathBuf> {
        let secure = self.secure.as_ref().map(Secure::file);
        self.credentials.file().map(PathBuf::from).into_iter().chain(secure).collect()
    }

    fn reload(&self) -> Vec<Mistake> {
        let credentials = self.credentials.reload().err();
        credentials.into_iter().chain(self.secure.as_ref().and_then(|secure| secure.reload().err())).collect()
    }
}

impl Member {
    /// Its URL, as people know it.
    pub fn url(&self) -> &Arc<str> {
        &self.text
    }

    /// Where it is.
    pub fn to(&self) -> &Destination {
        &self.url.to
    }

    /// Whether it is to be tried while others are left. One that failed is passed over for a while; then a single
    /// flow finds out how it is.
    pub fn takes_a_turn(&self) -> bool {
        self.health.takes_a_turn(Instant::now())
    }

    /// Notes that it took a connection.
    pub fn works(&self) {
        if self.health.works() {
            self.counters.up(true);
        }
    }

    /// Notes that it took none.
    pub fn fails(&self) {
        self.health.fails(Instant::now());
        self.counters.failed();
        self.counters.up(false);
    }

    /// Notes how a request for a tunnel ended. An answer is one, whatever it says; but clients choose what is asked
    /// for, and may find what never gets one.
    fn answers(&self, answer: &Result<Stream, ParentFault>) {
        match answer {
            Ok(_) => self.counters.opened(),
            Err(fault) if fault.is_breakdown() => self.counters.failed(),
            Err(_) => self.counters.refused(),
        }
        if let Ok(_) | Err(ParentFault::Answer(_)) = answer {
            self.health.answers();
            self.counters.up(true);
        } else if self.health.leaves_unanswered(Instant::now()) {
            self.counters.up(false);
        }
    }
}

/// Without anything secret.
impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parent")
            .field("name", &self.name)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
