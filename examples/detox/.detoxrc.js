// The device and the place of the report come from the agent's variables.
module.exports = {
  testRunner: { args: { $0: "jest", config: "e2e/jest.config.js" } },
  apps: { shop: { type: "android.apk", binaryPath: "build/app.apk", testBinaryPath: "build/app-androidTest.apk" } },
  devices: { attached: { type: "android.attached", device: { adbName: process.env.QGJOB_UDID } } },
  configurations: { attached: { device: "attached", app: "shop" } },
};
