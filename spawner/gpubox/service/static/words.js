// @ts-check
// Times, sizes and counts as people write them.

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const weekdayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "short" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const ordinals = new Intl.PluralRules("en", { type: "ordinal" });

/** @param {number} seconds Unix seconds */
const dateOf = (seconds) => new Date(seconds * 1000);

export const now = () => Date.now() / 1000;

/** `14:20`; with its day where that is not today: `Tue 14:20`, `24 Dec 14:20`. @param {number} seconds */
export function clock(seconds) {
  const date = dateOf(seconds);
  const time = clockFormat.format(date);
  const days = Math.abs(seconds - now()) / 86400;
  if (date.toDateString() === new Date().toDateString()) return time;
  return days < 6 ? `${weekdayFormat.format(date)} ${time}` : `${dayOf(seconds)} ${time}`;
}

/** `14:20`, of whichever day. @param {number} seconds */
export const timeOf = (seconds) => clockFormat.format(dateOf(seconds));

/** `Mon 23 Nov` @param {number} seconds */
export const dayOf = (seconds) => dayFormat.format(dateOf(seconds)).replace(",", "");

/** `2 h 14 min` @param {number} seconds */
export function duration(seconds) {
  const minutes = Math.max(0, Math.floor(seconds / 60));
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 10) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  if (hours < 48) return `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

/** `3rd` @param {number} number */
export function ordinal(number) {
  const suffix = { one: "st", two: "nd", few: "rd", other: "th", zero: "th", many: "th" };
  return number + suffix[ordinals.select(number)];
}

/** `1 person`, `2 people` @param {number} number @param {string} one @param {string} [many] */
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** `61 of 80 GB` @param {number | null | undefined} used @param {number | null | undefined} total MiB both */
export function memory(used, total) {
  const gigabytes = (/** @type {number} */ mib) => {
    const size = mib / 1024;
    return size < 10 && size > 0 ? size.toFixed(1) : String(Math.round(size));
  };
  if (used == null) return total == null ? "" : `${gigabytes(total)} GB`;
  return total == null ? `${gigabytes(used)} GB` : `${gigabytes(used)} of ${gigabytes(total)} GB`;
}

/** `1.4 GB`, `12 MB` @param {number} bytes */
export const size = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${bytes ? Math.max(1, Math.round(bytes / 1e6)) : 0} MB`);

/** A model as people call it. @param {string} model */
export const modelOf = (model) => model.replace(/^NVIDIA (GeForce )?/, "").replace(/^AMD (Instinct )?/, "");

/** @param {number} hours */
export const hoursOf = (hours) => hours.toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** @param {number} amount @param {string} currency */
export const money = (amount, currency) =>
  currency + amount.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** @param {number} share 0 to 1 */
export const percent = (share) => `${Math.round(share * 100)} %`;
