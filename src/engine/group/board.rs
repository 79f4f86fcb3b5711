//! Where every member of a group says where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::decide::group::{Gathering, Member, Rebake, Stance, Waiting, gather, rebake};
use crate::engine::asked::Activation;
use crate::engine::clock::Utc;
use crate::model::{App, AppName, Digest, GroupMember, GroupName, SeenSource, Time};

use super::round::Round;
use super::seat::Seat;

/// Every group.
#[derive(Default)]
pub(in crate::engine) struct Groups {
    boards: Mutex<BTreeMap<GroupName, Arc<Board>>>,
    /// It is not known yet which containers are of a group: nobody moves before that.
    unknown: Arc<AtomicBool>,
}

impl Groups {
    /// Makes these the members of all groups. Those that stay are left alone; whoever waited for one that has gone looks
    /// again.
    pub(in crate::engine) fn muster<'a>(&self, apps: impl Iterator<Item = &'a App>) {
        let mut wanted: BTreeMap<&GroupName, BTreeMap<AppName, String>> = BTreeMap::new();
        for app in apps {
            if let Some(group) = &app.group {
                wanted.entry(group).or_default().insert(app.name.clone(), followed(app));
            }
        }
        let mut boards = self.boards.lock().expect("no holder panics");
        for (name, members) in &wanted {
            boards.entry((*name).clone()).or_insert_with(|| self.new_board(name)).muster(members);
        }
        boards.retain(|name, board| {
            let stays = wanted.contains_key(name);
            if !stays {
                board.muster(&BTreeMap::new());
            }
            stays
        });
    }

    /// The board of an app's group.
    pub(in crate::engine) fn board(&self, app: &App) -> Option<Arc<Board>> {
        self.boards.lock().expect("no holder panics").get(app.group.as_ref()?).cloned()
    }

    /// Whether it is still to be found out which containers are adopted, and so perhaps of a group.
    pub(in crate::engine) fn set_unknown(&self, unknown: bool) {
        if self.unknown.swap(unknown, Ordering::SeqCst) && !unknown {
            let boards = self.boards.lock().expect("no holder panics");
            boards.values().for_each(|board| board.lock().ring(None));
        }
    }

    fn new_board(&self, name: &GroupName) -> Arc<Board> {
        Arc::new(Board { name: name.clone(), state: Mutex::default(), unknown: self.unknown.clone() })
    }
}

/// What an app follows. Two that follow the same must run the same.
pub(in crate::engine) fn followed(app: &App) -> String {
    format!("{} {}", app.image, app.follow)
}

/// How a member is reached.
#[derive(Clone)]
pub(in crate::engine) struct Bell {
    pub(in crate::engine) nudge: Arc<Notify>,
    pub(in crate::engine) activation: Arc<Activation>,
}

struct Known {
    member: Member,
    bell: Option<Bell>,
}

#[derive(Default)]
struct State {
    members: BTreeMap<AppName, Known>,
    /// When the members were last asked to look.
    asked: Option<Time>,
    round: Option<Arc<Round>>,
    /// When a member that was left in its bake first asked how to go on.
    begun: Option<Time>,
}

/// What becomes of a member that has something newer.
pub(in crate::engine) enum Call {
    /// It goes, with the others of its round.
    Go(Seat),
    /// It waits.
    Wait(Waiting),
    /// Its bake has passed already.
    Passed,
    /// It would go by itself.
    Alone,
}

/// What a member says of itself.
pub(in crate::engine) struct Word {
    pub(in crate::engine) pinned: bool,
    pub(in crate::engine) serving: Option<Digest>,
    pub(in crate::engine) switched: Option<Time>,
    pub(in crate::engine) looked: Option<Time>,
    pub(in crate::engine) stance: Stance,
}

/// One group.
pub(in crate::engine) struct Board {
    pub(in crate::engine) name: GroupName,
    state: Mutex<State>,
    unknown: Arc<AtomicBool>,
}

impl Board {
    fn muster(&self, wanted: &BTreeMap<AppName, String>) {
        let mut state = self.lock();
        let stays = |name: &AppName, known: &Known| wanted.get(name) == Some(&known.member.image);
        let gone: Vec<AppName> =
            state.members.iter().filter(|(name, known)| !stays(name, known)).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            state.members.remove(name);
            if let Some(round) = state.round.as_ref().filter(|round| round.is_awaited(name)) {
                round.excuse(name, "is no longer of the group");
            }
        }
        for (name, image) in wanted {
            state.members.entry(name.clone()).or_insert_with(|| Known { member: unknown(image), bell: None });
        }
        if !gone.is_empty() {
            state.ring(None);
        }
    }

    /// The member's task runs, and can be reached like this. What was known of an earlier one says nothing.
    pub(in crate::engine) fn join(&self, app: &App, bell: Bell) {
        let known = Known { member: unknown(&followed(app)), bell: Some(bell) };
        self.lock().members.insert(app.name.clone(), known);
    }

    /// A member says where it stands. The others look again when that is news to them.
    pub(in crate::engine) fn tell(&self, app: &AppName, word: Word) {
        let now = Utc::now();
        let mut state = self.lock();
        let Some(known) = state.members.get_mut(app) else { return };
        let Word { pinned, serving, switched, looked, stance } = word;
        let since = if stance == known.member.stance { known.member.since } else { now };
        let image = known.member.image.clone();
        let told = Member { image, pinned, serving, switched, looked, stance, since };
        if known.member == told {
            return;
        }
        let news = matches!(told.stance, Stance::Ready(_)) && known.member.stance != told.stance;
        known.member = told;
        state.ring(Some(app));
        if news {
            state.ask(app, now);
        }
    }

    /// A member can't say where it stands.
    pub(in crate::engine) fn lost(&self, app: &AppName, why: &str) {
        let mut state = self.lock();
        let Some(known) = state.members.get_mut(app) else { return };
        let stance = Stance::Blind(why.to_owned());
        if known.member.stance != stance {
            (known.member.stance, known.member.since) = (stance, Utc::now());
            state.ring(Some(app));
        }
    }

    /// What becomes of a member that has said that it is ready. Whoever is called takes its seat at once.
    pub(in crate::engine) fn call(self: &Arc<Self>, app: &AppName, digest: &Digest, forced: bool) -> Call {
        let now = Utc::now();
        let mut state = self.lock();
        if self.unknown.load(Ordering::SeqCst) {
            let message = "waits until it is known which containers are of its group".to_owned();
            return Call::Wait(Waiting { on: Vec::new(), message, until: None });
        }
        if let Some(round) = &state.round {
            if let Some(seat) = round.seat(self, app, digest) {
                return state.seated(app, seat);
            }
            if round.is_awaited(app) {
                round.excuse(app, "has seen another version meanwhile");
            }
            let message = "waits for the deployment of its group that is under way".to_owned();
            return Call::Wait(Waiting { on: round.present(app), message, until: None });
        }
        let members = state.members();
        let with = match gather(app, &members, state.asked.unwrap_or(now), forced, now) {
            Gathering::Wait(waiting) => return Call::Wait(waiting),
            Gathering::Go(with) => with,
        };
        let called = |name: &AppName| match &members.get(name)?.stance {
            Stance::Ready(digest) => Some(GroupMember { app: name.clone(), digest: digest.clone(), deployment: None }),
            _ => None,
        };
        self.open(&mut state, app, digest, Round::new(&self.name, with.iter().filter_map(called), false))
    }

    /// Whom a member that has just failed would wait for. Nobody is called by it.
    pub(in crate::engine) fn expect(&self, app: &AppName, forced: bool) -> Call {
        let now = Utc::now();
        let state = self.lock();
        match gather(app, &state.members(), state.asked.unwrap_or(now), forced, now) {
            Gathering::Wait(waiting) if waiting.until.is_none() => Call::Wait(waiting),
            _ => Call::Alone,
        }
    }

    /// What becomes of a member that an earlier run has left in its bake.
    pub(in crate::engine) fn resume(self: &Arc<Self>, app: &AppName, digest: &Digest) -> Call {
        let now = Utc::now();
        let mut state = self.lock();
        if let Some(seat) = state.round.as_ref().and_then(|round| round.seat(self, app, digest)) {
            return state.seated(app, seat);
        }
        let begun = *state.begun.get_or_insert(now);
        let members = state.members();
        let with = match rebake(app, &members, begun, now) {
            Rebake::Passed => return Call::Passed,
            Rebake::Wait(waiting) => return Call::Wait(waiting),
            Rebake::With(with) => with,
        };
        let called = |name: &AppName| {
            let digest = members.get(name)?.serving.clone()?;
            Some(GroupMember { app: name.clone(), digest, deployment: None })
        };
        self.open(&mut state, app, digest, Round::new(&self.name, with.iter().filter_map(called), true))
    }

    fn open(self: &Arc<Self>, state: &mut State, app: &AppName, digest: &Digest, round: Round) -> Call {
        let round = Arc::new(round);
        let seat = round.seat(self, app, digest);
        state.round = Some(round);
        (state.asked, state.begun) = (None, None);
        state.ring(Some(app));
        match seat {
            Some(seat) => state.seated(app, seat),
            None => Call::Wait(Waiting { on: Vec::new(), message: "was not called".to_owned(), until: None }),
        }
    }

    /// A member that was called does something else instead: the others need not wait for it.
    pub(in crate::engine) fn decline(&self, app: &AppName, why: &str) {
        let round = self.lock().round.clone();
        if let Some(round) = round.filter(|round| round.is_awaited(app)) {
            round.excuse(app, why);
            self.clear(&round);
        }
    }

    /// Once everybody has left, the next round can be opened.
    pub(super) fn clear(&self, round: &Arc<Round>) {
        let mut state = self.lock();
        if state.round.as_ref().is_some_and(|current| Arc::ptr_eq(current, round)) && round.is_over() {
            state.round = None;
            state.ring(None);
        }
    }

    /// These decide again.
    pub(in crate::engine) fn nudge(&self, wanted: impl Fn(&AppName) -> bool) {
        let state = self.lock();
        let known = state.members.iter().filter(|(name, _)| wanted(name));
        known.filter_map(|(_, known)| known.bell.as_ref()).for_each(|bell| bell.nudge.notify_one());
    }

    /// Whether an app is of the group; unknown as long as it is not known which containers are.
    pub(in crate::engine) fn has(&self, app: &AppName) -> Option<bool> {
        let known = self.lock().members.contains_key(app);
        (known || !self.unknown.load(Ordering::SeqCst)).then_some(known)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    fn members(&self) -> BTreeMap<AppName, Member> {
        self.members.iter().map(|(name, known)| (name.clone(), known.member.clone())).collect()
    }

    /// Until it speaks again, a member that has gone is busy.
    fn seated(&mut self, app: &AppName, seat: Seat) -> Call {
        if let Some(known) = self.members.get_mut(app) {
            (known.member.stance, known.member.since) = (Stance::Busy, Utc::now());
        }
        Call::Go(seat)
    }

    /// Has those look again who wait for others.
    fn ring(&self, but: Option<&AppName>) {
        let waits = |stance: &Stance| matches!(stance, Stance::Ready(_) | Stance::Baking);
        let waiting = self.members.iter().filter(|(name, known)| Some(*name) != but && waits(&known.member.stance));
        waiting.filter_map(|(_, known)| known.bell.as_ref()).for_each(|bell| bell.nudge.notify_one());
    }

    /// Something newer is there for one: the others ask their registries.
    fn ask(&mut self, app: &AppName, now: Time) {
        self.asked = Some(now);
        let others: BTreeSet<&AppName> = self.members.keys().filter(|name| *name != app).collect();
        for known in others.into_iter().filter_map(|name| self.members.get(name)) {
            if known.member.looked.is_none_or(|at| at < now)
                && let Some(bell) = &known.bell
            {
                bell.activation.remind(SeenSource::Group);
            }
        }
    }
}

fn unknown(image: &str) -> Member {
    Member {
        image: image.to_owned(),
        pinned: false,
        serving: None,
        switched: None,
        looked: None,
        stance: Stance::Unknown,
        since: Utc::now(),
    }
}
