import { defineConfig, Platform } from "appwright";

// The agent says which device and which build: these variables are set for each of its runs.
const udid = process.env.QGJOB_UDID;
const build = process.env.QGJOB_BUILD_PATH ?? "build/app.apk";

export default defineConfig({
  projects: [
    {
      name: "android",
      use: {
        platform: Platform.ANDROID,
        device: { provider: "local-device", udid },
        buildPath: build,
        expectTimeout: 2_000,
      },
    },
    {
      // Sessions of a BrowserStack plan: the agent uploads the build, begins each session, and says on which device.
      name: "cloud",
      use: {
        platform: Platform.ANDROID,
        device: { provider: "browserstack", name: "Google Pixel 8", osVersion: "14.0" },
        buildPath: build,
        expectTimeout: 2_000,
      },
    },
  ],
});
