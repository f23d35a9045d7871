// The studio: the key that opens the room, the staff session that sells in it, and around them the panels.

import { startFields } from "../fields.js";
import { startLanguage, t } from "../language.js";
import { Problem, requestJson } from "../problem.js";
import { RoomFeed } from "../room_feed.js";
import { recall, remember, takeFromFragment } from "../storage.js";
import { startToast } from "../toast.js";
import { EventsToken } from "./events_token.js";
import { AccessPanel } from "./publishing/access_panel.js";
import { startCameraPanel } from "./publishing/camera_panel.js";
import { ChannelPanel } from "./publishing/channel_panel.js";
import { startIngestPanel } from "./publishing/ingest_panel.js";
import { startObsPanel } from "./publishing/obs_panel.js";
import { RestreamsPanel } from "./publishing/restreams_panel.js";
import { BagState } from "./selling/bag_state.js";
import { CouponsPanel } from "./selling/coupons_panel.js";
import { OrdersPanel } from "./selling/orders_panel.js";
import { ProductForm } from "./selling/product_form.js";
import { SalesPanel } from "./selling/sales_panel.js";
import { SellingPanel } from "./selling/selling_panel.js";
import { SellingSession } from "./selling_session.js";
import { SignInPanel } from "./sign_in_panel.js";
import { StudioChat } from "./studio_chat.js";
import { StudioEvents } from "./studio_events.js";

const $ = (id) => document.getElementById(id);
const room = decodeURIComponent(location.pathname.split("/")[2]);
const kept = `hawker.key.${room}`;
const key = $("key");

function takeKey() {
  const given = takeFromFragment("key");
  if (given !== null) remember(sessionStorage, kept, given);
  key.value = recall(sessionStorage, kept) ?? "";
}

function showRoom({ title, live, viewers }) {
  $("title").textContent = title || room;
  document.title = `${t("studio")} · ${title || room}`;
  $("live").hidden = !live;
  showViewers(viewers ?? 0);
}

function showViewers(count) {
  $("viewers").hidden = false;
  $("viewer-count").textContent = String(count);
}

async function publishInfo() {
  try {
    return await requestJson(`/v1/rooms/${encodeURIComponent(room)}/publish-info`);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { rtmp_server: null, whip_url: `${location.origin}/whip`, https_studio_url: null };
  }
}

// Signing in, products, orders and chat, and the events that keep them fresh.
function startSelling({ session, feed, ingest, toast }) {
  const state = new BagState();
  const selling = new SellingPanel({ room, session, state });
  const orders = new OrdersPanel({ room, session });
  const sales = new SalesPanel({ room, session });
  const coupons = new CouponsPanel({ room, session, currency: () => selling.usualCurrency(), toast });
  const chat = new StudioChat();
  const signIn = new SignInPanel(session);
  const form = new ProductForm({
    session,
    usualCurrency: () => selling.usualCurrency(),
    onMade: async (product) => {
      await selling.made(product);
      toast(t("sell_made", { title: product.title }));
    },
  });
  const acts = {
    hello: ({ viewers, clock }) => {
      showViewers(viewers);
      orders.showBegan(clock?.epoch ?? null);
      orders.changed();
    },
    chat: ({ messages }) => chat.take(messages),
    "viewer.count": ({ n }) => showViewers(n),
    "stock.changed": () => orders.changed(),
    "stream.online": (_, { ts }) => {
      orders.onAir(true, ts);
      ingest.refresh();
      void feed.refresh();
    },
    "stream.slate": () => {
      ingest.refresh();
      void feed.refresh();
    },
    "ingest.notice": () => ingest.refresh(),
    "stream.offline": (_, { ts }) => {
      orders.onAir(false, ts);
      ingest.refresh();
      void feed.refresh();
    },
  };
  const eventsToken = new EventsToken({ room, session, access: () => feed.room?.access ?? "public" });
  const events = new StudioEvents({
    room,
    token: () => eventsToken.get(),
    onEvent: (event) => {
      acts[event.t]?.(event.d, event);
      for (const panel of [selling, sales, coupons]) panel.take(event);
    },
    onOpen: (open) => {
      chat.showOpen(open);
      selling.followEvents(open);
      feed.relax(open);
    },
  });
  session.onChange(() => {
    $("desk").toggleAttribute("data-selling", session.who !== null);
    events.hurry();
  });
  return {
    start: () => events.start(),
    showWords: () => {
      selling.draw();
      for (const panel of [orders, sales, coupons, chat, signIn, form]) panel.showWords();
    },
  };
}

async function start() {
  takeKey();
  const panels = [];
  const toast = startToast($("toast"));
  startLanguage(() => panels.forEach((panel) => panel.showWords()));
  startFields(toast);
  $("title").textContent = room;
  $("watch-url").value = `${location.origin}/watch/${encodeURIComponent(room)}`;
  $("watch-link").href = $("watch-url").value;
  const session = new SellingSession();
  const access = new AccessPanel({ room, session, toast, onChange: (access) => feed.tell({ access }) });
  const feed = new RoomFeed({
    room,
    token: async () => null,
    onChange: (told) => {
      showRoom(told);
      access.take(told);
    },
  });
  const ingest = startIngestPanel({ room, session });
  const selling = startSelling({ session, feed, ingest, toast });
  panels.push(access, selling, ingest);
  panels.push(new RestreamsPanel({ room, session }), new ChannelPanel({ room, session }));
  void Promise.all([feed.refresh(), session.start()]).then(() => selling.start()); // which says whether a token is needed

  const info = await publishInfo();
  const readKey = () => key.value.trim();
  const obs = startObsPanel({ room, info, readKey });
  const camera = startCameraPanel({ room, info, readKey });
  panels.push(obs, camera);

  const changed = () => {
    remember(sessionStorage, kept, readKey());
    obs.showKey();
    camera.showKey();
  };
  key.addEventListener("input", changed);
  window.addEventListener("hashchange", () => {
    takeKey();
    changed();
  });
}

void start();
