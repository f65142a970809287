/** A made-up platform game, bright above and dark below, to show the alerts over. */
export const BACKDROP = `
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 540" preserveAspectRatio="xMidYMid slice">
  <rect width="960" height="540" fill="#8fd3f0"/>
  <rect y="150" width="960" height="110" fill="#b4e3f3"/>
  <rect y="240" width="960" height="80" fill="#dcf1ee"/>
  <circle cx="770" cy="96" r="44" fill="#fff3c2"/>
  <path d="M90 92h120v16H90zM66 108h172v18H66zM420 60h96v14h-96zM396 74h150v16H396z" fill="#fff"/>
  <path fill="#6fa8b8"
    d="M0 330 120 210 210 290 330 170 470 320 580 230 690 330 800 200 960 340V540H0Z"/>
  <path d="M0 390 150 300 300 380 470 290 640 390 800 310 960 390V540H0Z" fill="#4d8f6e"/>
  <path d="M0 430H960V540H0Z" fill="#5a3b2a"/>
  <path d="M0 418H960V440H0Z" fill="#78c850"/>
  <path fill="#472d20"
    d="M40 470h50v22H40zM170 500h70v20h-70zM360 466h44v20h-44zM560 496h80v22h-80zM760
      470h60v22h-60z"/>
  <path d="M120 300h168v22H120zM640 262h150v22H640z" fill="#8a5a3c"/>
  <path d="M120 292h168v12H120zM640 254h150v12H640z" fill="#78c850"/>
  <g fill="#ffcf3f" stroke="#b37a12" stroke-width="3">
    <circle cx="160" cy="262" r="10"/><circle cx="204" cy="262" r="10"/>
      <circle cx="248" cy="262" r="10"/>
    <circle cx="664" cy="224" r="10"/><circle cx="772" cy="224" r="10"/>
  </g>
  <path d="M702 192h36v20h10v42h-14v-16h-28v16h-14v-42h10z" fill="#e4483d"/>
  <path d="M708 180h30v16h-30z" fill="#f4c9a0"/>
</svg>`;
