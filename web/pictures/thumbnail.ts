/** The made-up front of a made-up tape, for the picture of the lower third. */
export const THUMBNAIL_DRAWING = `
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 232">
  <defs>
    <linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">
      <stop offset="0" stop-color="#1d2450"/><stop offset=".55" stop-color="#8a3f6e"/>
      <stop offset="1" stop-color="#ff9d5c"/>
    </linearGradient>
    <linearGradient id="beam" x1="1" y1="0" x2="0" y2="0">
      <stop offset="0" stop-color="#fff3b0" stop-opacity=".95"/>
      <stop offset="1" stop-color="#fff3b0" stop-opacity="0"/>
    </linearGradient>
  </defs>
  <rect width="400" height="232" fill="url(#sky)"/>
  <g fill="#fff3d6">
    <circle cx="40" cy="30" r="1.6"/><circle cx="92" cy="58" r="1.2"/><circle cx="150" cy="22" r="1.8"/>
    <circle cx="214" cy="46" r="1.2"/><circle cx="352" cy="26" r="1.6"/><circle cx="372" cy="70" r="1.1"/>
  </g>
  <circle cx="86" cy="170" r="34" fill="#ffcf70"/>
  <path d="M292 66 0 14v92Z" fill="url(#beam)"/>
  <path d="M0 172h400v60H0Z" fill="#16324f"/>
  <path d="M0 184h130M30 198h120M0 212h90M170 190h60M190 208h90" stroke="#ff9d5c" stroke-width="3"
    opacity=".6"/>
  <path d="M230 232c10-40 44-58 74-58s70 22 96 40v18Z" fill="#0e1a2c"/>
  <path d="M286 88h32l8 96h-48Z" fill="#fff3e0"/>
  <path d="m284 112 36-2 2 22-40 2ZM281 150l43-2 2 24-47 2Z" fill="#e0524d"/>
  <rect x="280" y="80" width="44" height="8" fill="#16121d"/>
  <rect x="288" y="56" width="28" height="24" fill="#ffe58a" stroke="#16121d" stroke-width="4"/>
  <path d="M282 56 302 38l20 18Z" fill="#e0524d"/>
</svg>`;
