//! Answers of DNS servers, kept for their time to live and within a bound of memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::proto::serialize::binary::BinEncodable;
use moka::sync;

use crate::host::Name;
use crate::resolve::{Failure, Records};

/// Bytes, about: some 60,000 names with a few addresses each. Whoever controls a zone may fill answers to the brim,
/// so their number alone would be no bound.
const ROOM: u64 = 32 * 1024 * 1024;
/// What an entry takes besides its name and its records.
const ENTRY: usize = 256;

type Key = (Name, RecordType);

/// Answers by name and type. A flood of names that are asked once pushes out no name that is asked often.
#[derive(Debug)]
pub(super) struct Cache(sync::Cache<Key, Kept>);

/// An answer, and when it is over.
#[derive(Clone, Debug)]
struct Kept {
    answer: Result<Arc<[RData]>, Failure>,
    until: Instant,
}

impl Cache {
    /// A cache that keeps nothing for longer than `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        let cache = sync::Cache::builder().max_capacity(ROOM).weigher(weight).time_to_live(longest).build();
        Self(cache)
    }

    /// The answer that still holds.
    pub(super) fn find(&self, name: &Name, kind: RecordType) -> Option<Result<Records, Failure>> {
        let Kept { answer, until } = self.0.get(&(name.clone(), kind))?;
        let ttl = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(answer.map(|data| Records { data, ttl }))
    }

    /// Keeps an answer for so long.
    pub(super) fn keep(
        &self,
        name: &Name,
        kind: RecordType,
        answer: Result<Arc<[RData]>, Failure>,
        ttl: Duration,
    ) {
        if !ttl.is_zero() {
            self.0.insert((name.clone(), kind), Kept { answer, until: Instant::now() + ttl });
        }
    }
}

fn weight((name, _): &Key, kept: &Kept) -> u32 {
    let records = kept.answer.iter().flat_map(|data| data.iter());
    let bytes = records.map(|data| size_of::<RData>() + outside(data)).sum::<usize>();
    u32::try_from(ENTRY + name.as_str().len() + bytes).unwrap_or(u32::MAX)
}

/// About how much of a record is not in the record itself.
fn outside(data: &RData) -> usize {
    match data.ip_addr() {
        Some(IpAddr::V4(_) | IpAddr::V6(_)) => 0,
        None => data.to_bytes().map_or(0, |bytes| 2 * bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, TXT};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn address() -> Result<Arc<[RData]>, Failure> {
        Ok(Arc::from([RData::A(A::new(192, 0, 2, 1))]))
    }

    #[test]
    fn answers_are_kept_for_their_time() {
        let cache = Cache::new(HOUR);
        let a = name("a.example");
        assert!(cache.find(&a, RecordType::A).is_none());
        cache.keep(&a, RecordType::A, address(), HOUR);
        cache.keep(&a, RecordType::AAAA, Err(Failure::NoAddresses), HOUR);
        let found = cache.find(&a, RecordType::A).unwrap().unwrap();
        assert_eq!(found.data.len(), 1);
        assert!(found.ttl <= HOUR && found.ttl > HOUR / 2, "{:?}", found.ttl);
        assert!(matches!(cache.find(&a, RecordType::AAAA), Some(Err(Failure::NoAddresses))));
        assert!(cache.find(&name("b.example"), RecordType::A).is_none());
        for ttl in [Duration::ZERO, Duration::from_nanos(1)] {
            cache.keep(&name("brief.example"), RecordType::A, address(), ttl);
            assert!(cache.find(&name("brief.example"), RecordType::A).is_none());
        }
    }

    #[test]
    fn neither_many_answers_nor_long_ones_take_more_than_the_room() {
        let cache = Cache::new(HOUR);
        let busy = name("busy.example");
        cache.keep(&busy, RecordType::A, address(), HOUR);
        let long: Arc<[RData]> = Arc::from([RData::TXT(TXT::new(vec!["x".repeat(255); 200]))]);
        for number in 0..20_000 {
            assert!(cache.find(&busy, RecordType::A).is_some(), "pushed out after {number}");
            cache.keep(&name(&format!("n{number}.example")), RecordType::TXT, Ok(Arc::clone(&long)), HOUR);
        }
        cache.0.run_pending_tasks();
        assert!(cache.0.weighted_size() <= ROOM, "{}", cache.0.weighted_size());
        assert!(cache.0.entry_count() < 400, "{}", cache.0.entry_count());
    }
}
